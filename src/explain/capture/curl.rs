//! A command line of curl's, as people type it and browsers copy it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

use super::{Capture, CaptureError, Form, header, shell};

/// Options with a value, by their short names. Whatever is not here is a flag.
const SHORT_WITH_VALUE: &str = "AbcCdDeEFHhKmoPQrTtuUwXxyYz";
/// The same by their long names.
const LONG_WITH_VALUE: &str = "\
    abstract-unix-socket aws-sigv4 cacert capath cert cert-type ciphers config connect-timeout connect-to \
    cookie cookie-jar crlfile curves data data-ascii data-binary data-raw data-urlencode dns-servers doh-url \
    dump-header form form-string header interface json keepalive-time key key-type limit-rate local-port \
    max-filesize max-redirs max-time noproxy oauth2-bearer output output-dir parallel-max pass pinnedpubkey \
    proto proxy proxy-header proxy-user range rate referer request request-target resolve retry retry-delay \
    retry-max-time socks5 socks5-hostname speed-limit speed-time stderr time-cond tls-max tls13-ciphers trace \
    trace-ascii unix-socket upload-file url url-query user user-agent variable write-out";

/// What the command would send.
#[derive(Default)]
struct Command {
    urls: Vec<String>,
    method: Option<String>,
    headers: Vec<String>,
    data: Vec<String>,
    user: Option<String>,
    bearer: Option<String>,
    json: bool,
    form: bool,
    as_query: bool,
    head: bool,
    upload: bool,
}

/// Reads it.
pub(super) fn read(text: &str) -> Result<Capture, CaptureError> {
    let mut words = shell::words(text)?.into_iter().skip(1);
    let mut command = Command::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(CaptureError::NoUrl);
        match word.strip_prefix("--") {
            Some(name) if LONG_WITH_VALUE.split(' ').any(|known| known == name) => command.take(name, value()?),
            Some(name) => command.flag(name),
            None if word.len() > 1 && word.starts_with('-') => {
                command.short(word.get(1..).unwrap_or_default(), value)?;
            }
            None => command.urls.push(word),
        }
    }
    command.capture()
}

impl Command {
    /// `-sSXPOST`: flags, then perhaps one with a value, joined or as the next word.
    fn short(
        &mut self,
        letters: &str,
        next: impl FnOnce() -> Result<String, CaptureError>,
    ) -> Result<(), CaptureError> {
        for (at, letter) in letters.char_indices() {
            if SHORT_WITH_VALUE.contains(letter) {
                let joined = letters.get(at + letter.len_utf8()..).unwrap_or_default();
                let value = if joined.is_empty() { next()? } else { joined.to_owned() };
                self.take(long_name(letter), value);
                return Ok(());
            }
            self.flag(long_name(letter));
        }
        Ok(())
    }

    fn take(&mut self, name: &str, value: String) {
        match name {
            "url" => self.urls.push(value),
            "request" => self.method = Some(value),
            "header" => self.headers.push(value),
            "data" | "data-ascii" | "data-binary" | "data-raw" | "data-urlencode" => self.data.push(value),
            "json" => {
                self.json = true;
                self.data.push(value);
            }
            "form" | "form-string" => self.form = true,
            "user" => self.user = Some(value),
            "oauth2-bearer" => self.bearer = Some(value),
            "upload-file" => self.upload = true,
            "user-agent" => self.headers.push(format!("user-agent: {value}")),
            "referer" => self.headers.push(format!("referer: {value}")),
            "cookie" => self.headers.push(format!("cookie: {value}")),
            _ => {}
        }
    }

    fn flag(&mut self, name: &str) {
        match name {
            "get" => self.as_query = true,
            "head" => self.head = true,
            _ => {}
        }
    }

    fn capture(self) -> Result<Capture, CaptureError> {
        let url = match self.urls.as_slice() {
            [] => return Err(CaptureError::NoUrl),
            [url] => url,
            several => return Err(CaptureError::Several(several.len())),
        };
        // curl guesses http.
        let mut url = if url.contains("://") { url.clone() } else { format!("http://{url}") };
        let data = self.data.join("&");
        let has_data = !self.data.is_empty() && !self.as_query;
        if self.as_query && !data.is_empty() {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&data);
        }
        let method = self.method.as_deref().unwrap_or(match () {
            () if self.head => "HEAD",
            () if self.upload => "PUT",
            () if has_data || self.form => "POST",
            () => "GET",
        });
        let headers = self.header_map(&url, has_data)?;
        let body_bytes = if has_data { u64::try_from(data.len()).unwrap_or(u64::MAX) } else { 0 };
        Capture::addressed(method, &url, headers, body_bytes, Form::Command)
    }

    fn header_map(&self, url: &str, has_data: bool) -> Result<HeaderMap, CaptureError> {
        let mut headers = HeaderMap::new();
        let mut add = |name: &str, value: &str| {
            let (name, value) = header(name, value).ok_or(CaptureError::NotAHeader(1))?;
            headers.append(name, value);
            Ok::<(), CaptureError>(())
        };
        for line in &self.headers {
            match line.split_once(':') {
                // `-H 'Name:'` takes one of curl's own away.
                Some((_, value)) if value.trim().is_empty() => {}
                Some((name, value)) => add(name, value)?,
                // `-H 'Name;'` sends it empty, `-H @file` cannot be known.
                None => match line.strip_suffix(';') {
                    Some(name) => add(name, "")?,
                    None => return Err(CaptureError::NotAHeader(1)),
                },
            }
        }
        let named = |name: &http::HeaderName| {
            self.headers.iter().any(|line| {
                line.split_once(':').is_some_and(|(given, _)| given.trim().eq_ignore_ascii_case(name.as_str()))
            })
        };
        if (has_data || self.form) && !named(&CONTENT_TYPE) {
            add(
                "content-type",
                match (self.form, self.json) {
                    (true, _) => "multipart/form-data",
                    (false, true) => "application/json",
                    (false, false) => "application/x-www-form-urlencoded",
                },
            )?;
        }
        if !named(&AUTHORIZATION) {
            let in_url = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next());
            let in_url = in_url.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
            if let Some(bearer) = &self.bearer {
                add("authorization", &format!("Bearer {bearer}"))?;
            } else if let Some(user) = self.user.as_deref().or(in_url) {
                add("authorization", &format!("Basic {}", STANDARD.encode(user)))?;
            }
        }
        Ok(headers)
    }
}

fn long_name(letter: char) -> &'static str {
    match letter {
        'X' => "request",
        'H' => "header",
        'd' => "data",
        'F' => "form",
        'u' => "user",
        'A' => "user-agent",
        'b' => "cookie",
        'e' => "referer",
        'T' => "upload-file",
        'G' => "get",
        'I' => "head",
        // One that does not matter here.
        _ => "",
    }
}
