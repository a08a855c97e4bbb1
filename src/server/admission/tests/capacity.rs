use super::*;

fn limits(unread: &[&str]) -> Limits {
    Limits {
        known: vec![
            Limit::new("pids", 16_000, 0, 1),
            Limit::new("maps", 7_935, 0, 1),
        ],
        unread: unread.iter().map(|text| (*text).to_owned()).collect(),
    }
}

#[test]
fn the_smallest_limit_is_used_and_named() {
    assert_eq!(smallest(limits(&[]), None).clients, 7_935);
    assert_eq!(smallest(limits(&[]), None).set_by, "maps = 7935");
    assert_eq!(smallest(limits(&[]), Some(100)).clients, 100);
    assert_eq!(smallest(limits(&[]), Some(100)).set_by, "max_clients");
    assert_eq!(
        smallest(limits(&[]), Some(9_000)).clients,
        7_935,
        "max_clients cannot exceed the kernel's limit"
    );
}

#[test]
fn line_names_what_was_assumed_and_why() {
    let mut unread = limits(&["a group, none assumed"]);
    for limit in &mut unread.known {
        limit.assumed = Some("it is hidden".into());
    }
    assert_eq!(
        smallest(unread, None).to_string(),
        "connection limit: 7935 (set by maps = 7935 assumed, because it is hidden); could not be read: \
         pids = 16000 assumed, because it is hidden; a group, none assumed"
    );
    let line = smallest(limits(&[]), None).to_string();
    assert_eq!(line, "connection limit: 7935 (set by maps = 7935)");
    let line = smallest(limits(&["a group"]), Some(5)).to_string();
    assert_eq!(
        line,
        "connection limit: 5 (set by max_clients); could not be read: a group"
    );
}

#[test]
fn limit_of_this_machine_has_a_name() {
    let capacity = compute(None, 256 << 10, false);
    assert!(capacity.clients > 0, "{capacity:?}");
    assert!(!capacity.set_by.is_empty());
}
