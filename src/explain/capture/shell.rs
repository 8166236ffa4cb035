//! Words of a command line, as a POSIX shell splits them (XCU section 2.2), with bash's `$'...'`. Nothing is expanded:
//! a variable cannot be known here.

use std::iter::Peekable;
use std::str::Chars;

use super::CaptureError;

type Text<'a> = Peekable<Chars<'a>>;

/// The words of the first command; what follows `;`, `|`, `&`, `<` or `>` or a line end is not read.
pub(super) fn words(command: &str) -> Result<Vec<String>, CaptureError> {
    let unescaped;
    let command = if is_of_cmd(command) {
        unescaped = without_carets(command);
        &unescaped
    } else {
        command
    };
    let mut words = Vec::new();
    let mut text = command.chars().peekable();
    while let Some(&next) = text.peek() {
        match next {
            '\n' | ';' | '|' | '&' | '<' | '>' => break,
            _ if next.is_whitespace() => drop(text.next()),
            '#' => break,
            _ => words.extend(word(&mut text)?),
        }
    }
    Ok(words)
}

/// One word; `None` where it is but a line that goes on.
fn word(text: &mut Text<'_>) -> Result<Option<String>, CaptureError> {
    let mut word = String::new();
    let mut any = false;
    while let Some(&next) = text.peek() {
        if next.is_whitespace() || matches!(next, ';' | '|' | '&' | '<' | '>') {
            break;
        }
        text.next();
        match next {
            '\'' => single(text, &mut word)?,
            '"' => double(text, &mut word)?,
            '$' if text.next_if_eq(&'\'').is_some() => ansi(text, &mut word)?,
            '$' if text.peek().is_some_and(|&c| is_substitution(c)) => return Err(CaptureError::Substitution),
            '`' => return Err(CaptureError::Substitution),
            '\\' => match text.next() {
                // A line that goes on; Windows ends it with two characters.
                Some('\n') => continue,
                Some('\r') if text.next_if_eq(&'\n').is_some() => continue,
                Some(escaped) => word.push(escaped),
                None => break,
            },
            plain => word.push(plain),
        }
        any = true;
    }
    Ok(any.then_some(word))
}

fn is_substitution(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '{' | '(')
}

fn single(text: &mut Text<'_>, word: &mut String) -> Result<(), CaptureError> {
    loop {
        match text.next().ok_or(CaptureError::OpenQuote)? {
            '\'' => return Ok(()),
            plain => word.push(plain),
        }
    }
}

fn double(text: &mut Text<'_>, word: &mut String) -> Result<(), CaptureError> {
    loop {
        match text.next().ok_or(CaptureError::OpenQuote)? {
            '"' => return Ok(()),
            '`' => return Err(CaptureError::Substitution),
            '$' if text.peek().is_some_and(|&c| is_substitution(c)) => return Err(CaptureError::Substitution),
            '\\' => match text.next().ok_or(CaptureError::OpenQuote)? {
                '\n' => {}
                escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                other => word.extend(['\\', other]),
            },
            plain => word.push(plain),
        }
    }
}

/// `$'...'`: how browsers write what has quotes or control characters in it.
fn ansi(text: &mut Text<'_>, word: &mut String) -> Result<(), CaptureError> {
    loop {
        match text.next().ok_or(CaptureError::OpenQuote)? {
            '\'' => return Ok(()),
            '\\' => match text.next().ok_or(CaptureError::OpenQuote)? {
                'n' => word.push('\n'),
                'r' => word.push('\r'),
                't' => word.push('\t'),
                'x' => word.extend(code(text, 2)),
                'u' => word.extend(code(text, 4)),
                other => word.push(other),
            },
            plain => word.push(plain),
        }
    }
}

/// Up to that many hexadecimal digits.
fn code(text: &mut Text<'_>, most: usize) -> Option<char> {
    let mut value = 0;
    for _ in 0..most {
        let Some(digit) = text.next_if(char::is_ascii_hexdigit).and_then(|c| c.to_digit(16)) else { break };
        value = value * 16 + digit;
    }
    char::from_u32(value)
}

/// "Copy as cURL (cmd)" escapes for the Windows command line first, with carets.
fn is_of_cmd(command: &str) -> bool {
    command.contains("^\"")
}

fn without_carets(command: &str) -> String {
    let mut plain = String::with_capacity(command.len());
    let mut text = command.chars().peekable();
    while let Some(c) = text.next() {
        match c {
            '^' => {
                let escaped = text.next();
                if escaped == Some('\r') {
                    text.next_if_eq(&'\n');
                }
                plain.push(match escaped {
                    Some('\n' | '\r') | None => ' ',
                    // It is no variable there.
                    Some(other) => other,
                });
            }
            '$' => plain.push_str("\\$"),
            other => plain.push(other),
        }
    }
    plain
}
