//! Addresses of pages, as the registry takes them: http or https, and nothing that may be a login.

use std::net::Ipv6Addr;

/// Bytes that the name of a host has at most.
const MOST_NAME_BYTES: usize = 253;

/// What is wrong with an address of pages, in words that do not repeat it, since it may hold a
/// password; `None` when it can be followed.
pub(super) fn fault(text: &str) -> Option<&'static str> {
    let rest = ["https://", "http://"].map(|scheme| text.strip_prefix(scheme));
    let Some(rest) = rest.into_iter().flatten().next() else {
        return Some("it does not begin with http:// or https://");
    };
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if !rest.bytes().all(is_plain) {
        return Some("it has a letter that no address has, which is written as %XX");
    }
    if rest.contains(['?', '#']) {
        return Some("what follows a ? or # may be a key: leave it out");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Some("it has a user or a password: leave them out");
    }
    match is_host_and_port(authority) {
        true => None,
        false => Some("its host or its port cannot be"),
    }
}

fn is_host_and_port(text: &str) -> bool {
    let (is_host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
            None => return false,
        },
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (is_name(name), port)
        }
    };
    is_host && is_port(port)
}

/// `:5000`, or nothing.
fn is_port(text: &str) -> bool {
    let is_number = |number: &str| {
        number.bytes().all(|byte| byte.is_ascii_digit())
            && number.parse::<u16>().is_ok_and(|port| port > 0)
    };
    text.is_empty() || text.strip_prefix(':').is_some_and(is_number)
}

fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_letter);
    text.len() <= MOST_NAME_BYTES && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_pages_names_a_host_and_no_login() {
        for text in [
            "http://127.0.0.1:5000",
            "http://10.0.0.5/",
            "https://site.example",
            "https://site-1.example:443/north/",
            "http://[fd00::5]:5000/",
            "http://site/a@b",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
        for (text, part) in [
            ("", "begin with"),
            ("site.example", "begin with"),
            ("javascript:alert(1)", "begin with"),
            ("data:text/html,x", "begin with"),
            ("//site.example", "begin with"),
            ("HTTP://site.example", "begin with"),
            (" http://site.example", "begin with"),
            ("ftp://site.example", "begin with"),
            ("http://ann@site.example", "user or a password"),
            ("https://ann:secret@10.0.0.5/", "user or a password"),
            ("https://:secret@10.0.0.5/", "user or a password"),
            ("http://10.0.0.5\\@site.example/", "letter"),
            ("http://10.0.0.5/a b", "letter"),
            ("http://10.0.0.5\n/", "letter"),
            ("http://sité.example/", "letter"),
            ("http://10.0.0.5/?token=1", "may be a key"),
            ("http://10.0.0.5#token=1", "may be a key"),
            ("http://", "host"),
            ("http:///north", "host"),
            ("http://:5000/", "host"),
            ("http://a..b/", "host"),
            ("http://site.example:/", "port"),
            ("http://site.example:0/", "port"),
            ("http://site.example:+80/", "port"),
            ("http://site.example:65536/", "port"),
            ("http://a:b:c/", "port"),
            ("http://[fd00::5", "host"),
            ("http://[10.0.0.5]/", "host"),
            ("http://[fd00::5]5000/", "port"),
        ] {
            assert!(
                fault(text).is_some_and(|said| said.contains(part)),
                "{text}"
            );
        }
    }
}
