//! Who sees what: promise P6 for shares.

use super::*;
use crate::handle::KEY_LEN;

const OBJECT: ObjectRef = ObjectRef { view: 0, inode: 1, generation: 1 };

fn client(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn rule(network: &str) -> Rule {
    Rule::new(Clients::Network(network.parse().unwrap()))
}

fn key(id: u8) -> HandleKey {
    HandleKey::new(&[id; KEY_LEN])
}

fn share(id: u8, path: &str, rules: Vec<Rule>) -> Share<&'static str> {
    let tree = Some((Arc::new("tree"), key(id)));
    Share { id: ShareId(u64::from(id)), path: path.to_owned(), tree, rules }
}

fn exports(shares: Vec<Share<&'static str>>) -> Exports<&'static str> {
    let exports = Exports::default();
    exports.replace(shares);
    exports
}

fn refused<T, U>(result: Result<(Grant<T>, U), Refused>) -> Option<Refused> {
    result.err()
}

#[test]
fn the_most_specific_rule_wins_and_of_equal_ones_the_last() {
    let read_only = |network| Rule { read_only: true, ..rule(network) };
    let rules = vec![
        rule("10.1.0.0/16"),
        read_only("10.1.2.0/24"),
        rule("10.1.2.3/32"),
        Rule { read_only: true, ..Rule::new(Clients::Any) },
        rule("fd00::/8"),
        rule("10.9.0.0/16"),
        read_only("10.9.0.0/16"),
    ];
    let exports = exports(vec![share(1, "/p/s", rules)]);
    for (address, expected) in [
        ("10.1.9.9:1", false),
        ("10.1.2.9:1", true),
        ("10.1.2.3:1", false),
        ("[::ffff:10.1.2.3]:1", false),
        ("[::ffff:10.1.2.9]:1", true),
        ("10.9.0.1:1", true),
        ("192.0.2.1:1", true),
        ("[fd00::1]:1", false),
        ("[2001:db8::1]:1", true),
    ] {
        let (grant, _) = exports.mount(client(address), b"/p/s").unwrap();
        assert_eq!(grant.rule.read_only, expected, "{address}");
    }
}

/// P6: paths, lists and handles of a share answer as though it did not exist.
#[test]
fn a_client_without_a_rule_learns_nothing() {
    let exports = exports(vec![share(1, "/p/secret", vec![rule("10.0.0.0/8")]), share(2, "/p/none", vec![])]);
    let stranger = client("192.0.2.1:700");
    let good = key(1).seal(ShareId(1), OBJECT);
    let mut forged = good;
    forged[LAST] ^= 1;
    let foreign = key(9).seal(ShareId(9), OBJECT);
    for handle in [good, forged, foreign, key(2).seal(ShareId(2), OBJECT)] {
        assert_eq!(refused(exports.open(stranger, &handle)), Some(Refused::Absent));
    }
    for path in ["/p/secret", "/p/secret/sub", "/p/absent", "/p", "/", "/p/none", "p/secret", ""] {
        assert_eq!(refused(exports.mount(stranger, path.as_bytes())), Some(Refused::Absent), "{path}");
    }
    assert!(exports.list(stranger.ip()).is_empty() && !exports.admits(stranger.ip()));
    let friend = client("10.0.0.1:700");
    assert_eq!(exports.open(friend, &good).unwrap().1, OBJECT);
    assert_eq!(refused(exports.open(friend, &forged)), Some(Refused::BadHandle(BadHandle)));
    assert_eq!(refused(exports.open(friend, &foreign)), Some(Refused::Absent));
    assert_eq!(refused(exports.open(friend, &good[..20])), Some(Refused::BadHandle(BadHandle)));
    let listed = Listed { path: "/p/secret".to_owned(), clients: "10.0.0.0/8".to_owned() };
    assert_eq!(exports.list(friend.ip()), [listed]);
    assert!(exports.admits("::ffff:10.0.0.1".parse().unwrap()));
    let admitted = |id, address: &SocketAddr| exports.admits_to(ShareId(id), address.ip());
    assert!(
        admitted(1, &friend) && !admitted(1, &stranger) && !admitted(2, &friend) && !admitted(9, &friend)
    );
}

const LAST: usize = handle::LEN - 1;

/// A handle that another share's rule would admit does not open this one.
#[test]
fn a_handle_obtained_elsewhere_does_not_help() {
    let exports = exports(vec![
        share(1, "/p/a", vec![rule("10.0.0.1/32")]),
        share(2, "/p/b", vec![rule("10.0.0.2/32")]),
    ]);
    let (of_a, of_b) = (key(1).seal(ShareId(1), OBJECT), key(2).seal(ShareId(2), OBJECT));
    assert!(exports.open(client("10.0.0.1:1"), &of_a).is_ok());
    assert_eq!(refused(exports.open(client("10.0.0.1:1"), &of_b)), Some(Refused::Absent));
    let relabelled = key(2).seal(ShareId(1), OBJECT);
    assert_eq!(refused(exports.open(client("10.0.0.1:1"), &relabelled)), Some(Refused::BadHandle(BadHandle)));
}

#[test]
fn rules_change_while_they_are_used() {
    let exports = exports(vec![share(1, "/p/s", vec![rule("10.0.0.0/8")])]);
    let it = client("10.0.0.1:1");
    let (grant, _) = exports.mount(it, b"/p/s").unwrap();
    let handle = grant.seal(OBJECT);
    exports.replace(vec![share(1, "/p/s", vec![])]);
    assert_eq!(refused(exports.open(it, &handle)), Some(Refused::Absent));
    assert_eq!(grant.open(&handle), Ok(OBJECT), "a call that has begun goes on");
    exports.replace(vec![share(1, "/p/renamed", vec![Rule::new(Clients::Any)])]);
    assert_eq!(exports.open(it, &handle).unwrap().1, OBJECT, "handles outlive a rename");
}

#[test]
fn a_share_of_a_failed_pool_is_busy_and_not_stale() {
    let away = Share { tree: None, ..share(1, "/p/s", vec![rule("10.0.0.0/8")]) };
    let exports = exports(vec![away]);
    let handle = key(1).seal(ShareId(1), OBJECT);
    assert_eq!(refused(exports.open(client("10.0.0.1:1"), &handle)), Some(Refused::Unavailable));
    assert_eq!(refused(exports.mount(client("10.0.0.1:1"), b"/p/s")), Some(Refused::Unavailable));
    assert_eq!(refused(exports.open(client("192.0.2.1:1"), &handle)), Some(Refused::Absent));
}

#[test]
fn a_secure_port_is_asked_for_by_the_rule_alone() {
    let secure = Rule { secure_port: true, ..rule("10.0.0.0/8") };
    let exports = exports(vec![share(1, "/p/s", vec![secure, rule("10.0.0.7/32")])]);
    let handle = key(1).seal(ShareId(1), OBJECT);
    for (address, expected) in
        [("10.0.0.1:1023", None), ("10.0.0.1:1024", Some(Refused::Port)), ("10.0.0.7:40000", None)]
    {
        assert_eq!(refused(exports.mount(client(address), b"/p/s")), expected, "{address}");
        assert_eq!(refused(exports.open(client(address), &handle)), expected, "{address}");
    }
}

#[test]
fn a_path_may_lead_below_a_share() {
    let any = || vec![Rule::new(Clients::Any)];
    let exports = exports(vec![share(1, "/p/s", any()), share(2, "/p/s/deep", any())]);
    let long = format!("/p/s/{}", "x".repeat(MAX_PATH));
    for (path, expected) in [
        ("/p/s", Some((1, vec![]))),
        ("//p/s//", Some((1, vec![]))),
        ("/p/s/a/b", Some((1, vec!["a", "b"]))),
        ("/p/s/deep", Some((2, vec![]))),
        ("/p/s/deep/x", Some((2, vec!["x"]))),
        ("/p/sx", None),
        ("/p/s/../t", None),
        ("/p/./s", None),
        ("/p/s\0", None),
        (long.as_str(), None),
    ] {
        let found = exports.mount(client("192.0.2.1:1"), path.as_bytes()).ok();
        let names = |names: &[Name]| -> Vec<String> {
            names.iter().map(|n| String::from_utf8(n.as_bytes().to_vec()).unwrap()).collect()
        };
        let found = found.map(|(grant, rest)| (grant.share().0, names(&rest)));
        let expected = expected.map(|(id, rest)| (id, rest.iter().map(|n| (*n).to_owned()).collect()));
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn squash_is_as_linux_does_it() {
    let who = |uid, gid, groups: &[u32]| Credentials { uid, gid, groups: groups.to_vec() };
    let nobody = who(ANONYMOUS, ANONYMOUS, &[]);
    let with = |squash| Rule { squash, ..rule("10.0.0.0/8") };
    for (squash, claimed, expected) in [
        (Squash::None, who(0, 0, &[0, 5]), who(0, 0, &[0, 5])),
        (Squash::Root, who(0, 0, &[0, 5]), who(ANONYMOUS, ANONYMOUS, &[ANONYMOUS, 5])),
        (Squash::Root, who(7, 0, &[]), who(7, ANONYMOUS, &[])),
        (Squash::Root, who(7, 8, &[9]), who(7, 8, &[9])),
        (Squash::All, who(7, 8, &[9]), nobody.clone()),
        (Squash::None, who(u32::MAX, u32::MAX, &[]), nobody.clone()),
    ] {
        assert_eq!(with(squash).squash(Some(claimed.clone())), expected, "{squash:?} {claimed:?}");
    }
    for squash in [Squash::None, Squash::Root, Squash::All] {
        assert_eq!(with(squash).squash(None), nobody, "who does not say who it is, is nobody");
    }
    let own = Rule { anonymous_uid: 5, anonymous_gid: 6, ..with(Squash::All) };
    assert_eq!(own.squash(Some(who(0, 0, &[1]))), who(5, 6, &[]));
}

#[test]
fn the_defaults_are_those_of_protocol_rule_21() {
    let rule = Rule::new(Clients::Any);
    assert!(!rule.read_only && !rule.secure_port && rule.squash == Squash::Root);
    assert_eq!(
        (rule.clients.to_string(), self::rule("10.1.2.3/8").clients.to_string()),
        ("*".to_owned(), "10.0.0.0/8".to_owned())
    );
}
