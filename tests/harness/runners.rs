//! What runners of ordinary tests pass to every test binary does not break the campaign, nor start
//! it by mistake.

use clap::Parser;

use crate::arguments::{Arguments, Wanted};

fn wanted(arguments: &[&str]) -> Wanted {
    let words = ["faults"].into_iter().chain(arguments.iter().copied());
    Arguments::try_parse_from(words)
        .unwrap_or_else(|refused| panic!("{arguments:?}: {refused}"))
        .wanted()
}

#[test]
fn options_of_ordinary_runners_are_accepted() {
    for arguments in [
        &["--nocapture"][..],
        &["--test-threads", "1"],
        &["--test-threads=1"],
        &["-q", "--color", "always"],
        &["--format", "terse", "-Z", "unstable-options"],
        &["--show-output", "--include-ignored"],
    ] {
        assert_eq!(wanted(arguments), Wanted::Run, "{arguments:?}");
    }
}

#[test]
fn a_filter_for_other_tests_starts_nothing() {
    assert_eq!(wanted(&["resume_replays"]), Wanted::Nothing);
    assert_eq!(wanted(&["fault"]), Wanted::Run);
    assert_eq!(wanted(&["--exact", "fault"]), Wanted::Nothing);
    assert_eq!(wanted(&["--exact", "faults"]), Wanted::Run);
    assert_eq!(wanted(&["--skip", "faults"]), Wanted::Nothing);
    assert_eq!(wanted(&["--ignored"]), Wanted::Nothing);
}

#[test]
fn it_is_listed_when_runners_ask() {
    assert_eq!(wanted(&["--list"]), Wanted::List);
    assert_eq!(wanted(&["--list", "--format", "terse"]), Wanted::List);
    assert_eq!(wanted(&["--list", "--ignored"]), Wanted::Nothing);
}
