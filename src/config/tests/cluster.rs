//! What a node of a cluster must be told.

use super::*;

#[test]
fn node_of_a_cluster_needs_a_url_and_a_shared_key() {
    let cluster = |listen: &str, is_node| Sources {
        flags: vec![
            ("redis", "redis://cache".to_owned()),
            ("listen", listen.to_owned()),
        ],
        is_node,
        ..Sources::default()
    };
    for listen in ["127.0.0.1:8080", "0.0.0.0:8080", "[::]:8080"] {
        assert_eq!(
            problem_keys(&cluster(listen, true)),
            ["advertise", "CALLBOARD_SIGNING_KEY"]
        );
    }
    assert_eq!(
        problem_keys(&cluster("192.0.2.7:8080", true)),
        ["CALLBOARD_SIGNING_KEY"]
    );
    assert!(Config::load(&cluster("127.0.0.1:8080", false)).is_ok());
    let mut given = cluster("0.0.0.0:8080", true);
    given
        .flags
        .push(("advertise", "http://node-1:8080".to_owned()));
    given.is_signing_key_given = true;
    let config = Config::load(&given).unwrap();
    assert_eq!(config.advertise.as_str(), "http://node-1:8080/");
}

#[test]
fn advertised_url_follows_the_bound_address_unless_given() {
    let mut derived = Config::load(&Sources {
        flags: vec![("listen", "0.0.0.0:0".to_owned())],
        ..Sources::default()
    })
    .unwrap();
    derived.listening_on("0.0.0.0:4321".parse().unwrap());
    assert_eq!(derived.advertise.as_str(), "http://127.0.0.1:4321/");

    let mut given = Config::load(&Sources {
        flags: vec![("advertise", "https://meet.example".to_owned())],
        ..Sources::default()
    })
    .unwrap();
    given.listening_on("127.0.0.1:4321".parse().unwrap());
    assert_eq!(given.advertise.as_str(), "https://meet.example/");
}
