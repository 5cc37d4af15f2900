//! Strong entity tags and the conditions on them (RFC 9110 sections 8.8.3 and 13.1).
//!
//! A tag is `"<content>-<view>"`: a hash of what a caller may change, and one of the whole
//! representation. `If-None-Match` compares both parts, so that a cached copy is never called fresh
//! when anything in it changed. `If-Match` compares the first only: a meeting that begins, or a
//! participant that joins, must not make a change of the settings stale.

use actix_web::{
    HttpRequest,
    http::header::{self, EntityTag, Header, HeaderValue, IfMatch, IfNoneMatch},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::problem::Problem;

/// Bytes of a hash in a tag: 96 bits make an accidental clash impossible in practice.
const HASH_BYTES: usize = 12;
/// Characters of one part; fixed, because the alphabet of base64url contains the separator.
const PART_CHARS: usize = HASH_BYTES / 3 * 4;

/// A representation that has an entity tag.
pub(super) trait Tagged: Serialize {
    /// The tag of the representation as it is now.
    fn tag(&self) -> Tag;
}

/// The tag of one representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Hash of what a caller may change.
    content: String,
    /// Hash of the whole representation.
    view: String,
}

impl Tag {
    /// Makes the tag of a resource whose stored content is `content` and that is shown as `view`.
    pub fn new(content: &impl Serialize, view: &impl Serialize) -> Self {
        Self {
            content: hash(content),
            view: hash(view),
        }
    }

    /// The value of `ETag`.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&format!("\"{}-{}\"", self.content, self.view))
            .expect("base64 text is a header value")
    }

    /// Checks that `If-Match` allows a change. Without the header, any change is allowed.
    ///
    /// # Errors
    /// `precondition_failed`, and `bad_request` for an unreadable header.
    pub fn check_if_match(&self, request: &HttpRequest) -> Result<(), Problem> {
        if !request.headers().contains_key(header::IF_MATCH) {
            return Ok(());
        }
        let wanted = IfMatch::parse(request)
            .map_err(|_| Problem::bad_request("If-Match must be * or a list of entity tags"))?;
        let is_met = match wanted {
            IfMatch::Any => true,
            IfMatch::Items(tags) => tags.iter().any(|tag| self.has_content_of(tag)),
        };
        if is_met {
            Ok(())
        } else {
            Err(Problem::precondition_failed())
        }
    }

    /// Whether the caller's copy, named in `If-None-Match`, is up to date. An unreadable header
    /// counts as absent.
    #[must_use]
    pub fn is_known_to(&self, request: &HttpRequest) -> bool {
        if !request.headers().contains_key(header::IF_NONE_MATCH) {
            return false;
        }
        match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(tags)) => tags
                .iter()
                .any(|tag| tag.tag() == format!("{}-{}", self.content, self.view)),
            Err(_) => false,
        }
    }

    /// Strong comparison of the first part.
    fn has_content_of(&self, tag: &EntityTag) -> bool {
        !tag.weak
            && tag
                .tag()
                .get(..PART_CHARS)
                .is_some_and(|content| content == self.content)
    }
}

/// Whether the request has `If-Match`.
#[must_use]
pub fn has_if_match(request: &HttpRequest) -> bool {
    request.headers().contains_key(header::IF_MATCH)
}

/// A short hash of a value's JSON.
fn hash(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("our views are JSON");
    URL_SAFE_NO_PAD.encode(&Sha256::digest(json)[..HASH_BYTES])
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::http::problem::ProblemCode;

    fn request(name: header::HeaderName, value: HeaderValue) -> HttpRequest {
        TestRequest::default()
            .insert_header((name, value))
            .to_http_request()
    }

    #[test]
    fn if_match_survives_a_change_of_the_view_only() {
        let read = Tag::new(&"settings", &"scheduled");
        let now = Tag::new(&"settings", &"active");
        let asked = request(header::IF_MATCH, read.header_value());
        assert!(now.check_if_match(&asked).is_ok());
        assert!(!now.is_known_to(&request(header::IF_NONE_MATCH, read.header_value())));
        assert!(read.is_known_to(&request(header::IF_NONE_MATCH, read.header_value())));
    }

    #[test]
    fn if_match_of_other_content_or_weak_fails() {
        let now = Tag::new(&2, &2);
        for text in [
            Tag::new(&1, &2).header_value().to_str().unwrap().to_owned(),
            format!("W/{}", now.header_value().to_str().unwrap()),
            "\"é\"".replace('é', "x"),
        ] {
            let asked = request(header::IF_MATCH, HeaderValue::from_str(&text).unwrap());
            let problem = now.check_if_match(&asked).unwrap_err();
            assert_eq!(problem.code, ProblemCode::PreconditionFailed, "{text}");
        }
        let any = request(header::IF_MATCH, HeaderValue::from_static("*"));
        assert!(now.check_if_match(&any).is_ok());
        let absent = TestRequest::default().to_http_request();
        assert!(now.check_if_match(&absent).is_ok());
    }

    #[test]
    fn unreadable_if_match_never_lets_a_change_through() {
        let asked = request(header::IF_MATCH, HeaderValue::from_static("no quotes"));
        assert!(Tag::new(&1, &1).check_if_match(&asked).is_err());
    }
}
