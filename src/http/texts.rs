//! Checks texts of callers before they are stored or shown.

use url::Url;

use super::problem::Problem;

/// Longest email, in characters (RFC 5321 section 4.5.3.1.3, less the brackets).
const EMAIL_CHARS_MAX: usize = 254;
/// Longest recording URL, in characters.
const URL_CHARS_MAX: usize = 2_048;

/// A display name without surrounding white space: 1 to `chars_max` characters, none of them a
/// control character.
///
/// # Errors
/// `invalid`.
pub fn display_name(text: &str, chars_max: usize) -> Result<String, Problem> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > chars_max || name.chars().any(char::is_control) {
        return Err(Problem::invalid(format!(
            "displayName must be 1 to {chars_max} characters without control characters"
        )));
    }
    Ok(name.to_owned())
}

/// Returns an email as it is stored: without surrounding white space and in lower case, because it
/// is unique without regard to case. The check is loose: only a message sent to the address could
/// tell more.
///
/// # Errors
/// `invalid`.
pub fn email(text: &str) -> Result<String, Problem> {
    let email = text.trim().to_lowercase();
    let is_plausible = email.chars().count() <= EMAIL_CHARS_MAX
        && !email.chars().any(|c| c.is_control() || c.is_whitespace())
        && email
            .rsplit_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if is_plausible {
        Ok(email)
    } else {
        Err(Problem::invalid(format!(
            "email must be an address of at most {EMAIL_CHARS_MAX} characters"
        )))
    }
}

/// Checks the URL of a recording: absolute, `http` or `https`.
///
/// # Errors
/// `invalid`.
pub fn recording_url(text: &str) -> Result<(), Problem> {
    let is_allowed = text.chars().count() <= URL_CHARS_MAX
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
        && Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if is_allowed {
        Ok(())
    } else {
        Err(Problem::invalid(format!(
            "recordingUrl must be an http or https URL of at most {URL_CHARS_MAX} characters, or null"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_name_is_trimmed_and_bounded_in_characters() {
        assert_eq!(display_name("  Ada ", 128).unwrap(), "Ada");
        assert!(display_name(&"é".repeat(128), 128).is_ok());
        for text in ["", "   ", "a\u{0}b", "a\nb", &"é".repeat(129)] {
            assert!(display_name(text, 128).is_err(), "{text:?}");
        }
    }

    #[test]
    fn email_has_two_sides_and_no_spaces() {
        assert_eq!(email(" Ada@Example.org ").unwrap(), "ada@example.org");
        for text in [
            "",
            "ada",
            "@x",
            "ada@",
            "a b@c",
            "a\u{0}@b",
            &format!("{}@b", "a".repeat(260)),
        ] {
            assert!(email(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn recording_url_is_http_and_bounded() {
        assert!(recording_url("https://example.org/a?b=c#d").is_ok());
        let long = format!("https://example.org/{}", "a".repeat(URL_CHARS_MAX));
        for text in [
            "",
            "/a",
            "ftp://a/b",
            "javascript:alert(1)",
            "http://",
            "http://a/\u{0}",
            &long,
        ] {
            assert!(recording_url(text).is_err(), "{text:?}");
        }
    }
}
