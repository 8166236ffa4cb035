//! Addresses as text.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Appends an address as [`IpAddr`] displays it; one of IPv4 by hand, since this is on every request's way.
pub fn push_ip(text: &mut String, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, number) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    text.push('.');
                }
                let digits = [number / 100, number / 10 % 10, number % 10];
                let leading = usize::from(number < 100) + usize::from(number < 10);
                text.extend(digits.into_iter().skip(leading).map(|digit| char::from(b'0' + digit)));
            }
        }
        IpAddr::V6(ip) => {
            // Writing to a String cannot fail.
            let _ = write!(text, "{ip}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_address_is_written_as_usual() {
        for number in 0..=u8::MAX {
            let ip = IpAddr::from([number, 255 - number, number / 3, number]);
            let mut text = String::new();
            push_ip(&mut text, ip);
            assert_eq!(text, ip.to_string());
        }
    }

    #[test]
    fn an_address_of_ipv6_is_written_as_usual() {
        for ip in ["::1", "2001:db8::7", "::ffff:192.0.2.1"] {
            let mut text = String::from("for=");
            if let Ok(ip) = ip.parse() {
                push_ip(&mut text, ip);
            }
            assert_eq!(text.strip_prefix("for="), Some(ip));
        }
    }
}
