use base64::engine::general_purpose::STANDARD;

use super::super::sample;
use super::*;
use crate::{Login, PathInRepo, PrNumber};

fn key(secret: &str) -> MarkerKey {
    MarkerKey::derive(secret.as_bytes())
}

const REPO: RepoId = RepoId::new(7);

fn branch() -> BranchName {
    BranchName::parse("promotions/10-bump-nginx-0123456789ab").unwrap()
}

fn marker() -> Marker {
    Marker::of(&sample::change(), None, &sample::step_to_lab())
}

fn read_one(body: &str) -> MarkerRead {
    read(&[key("a")], REPO, branch().as_str(), body)
}

#[test]
fn a_marker_is_read_as_it_was_written() {
    let line = write(&key("a"), REPO, &branch(), &marker());
    assert!(!line.contains('\n'));
    for body in [
        line.clone(),
        format!("{line}\nPromotes."),
        format!("{line}\r\nSaved by a browser."),
    ] {
        assert_eq!(read_one(&body), MarkerRead::Valid(Box::new(marker())), "{body}");
    }
    assert_eq!(
        read(&[key("new"), key("a")], REPO, branch().as_str(), &line),
        MarkerRead::Valid(Box::new(marker()))
    );
}

#[test]
fn the_marker_has_the_hop_that_it_stands_for() {
    let marker = Marker::of(&sample::later_change(), None, &sample::step_to_lab());
    assert_eq!(marker.promotion, sample::change().promotion());
    assert_eq!(marker.lineage.origin.unwrap().number, PrNumber::new(10));
    let hops: Vec<_> = marker.lineage.hops.iter().map(|hop| hop.number.get()).collect();
    assert_eq!(hops, [10, 11, 12]);
}

#[test]
fn a_marker_of_another_place_is_forged() {
    let line = write(&key("a"), REPO, &branch(), &marker());
    let other = RepoId::new(8);
    assert_eq!(
        read(&[key("a")], other, branch().as_str(), &line),
        MarkerRead::Forged
    );
    assert_eq!(
        read(&[key("a")], REPO, "promotions/11-x", &line),
        MarkerRead::Forged
    );
    assert_eq!(
        read(&[key("b")], REPO, branch().as_str(), &line),
        MarkerRead::Forged
    );
    assert_eq!(read(&[], REPO, branch().as_str(), &line), MarkerRead::Forged);
}

#[test]
fn no_single_character_of_a_marker_can_be_changed() {
    let line = write(&key("a"), REPO, &branch(), &marker());
    for at in 0..line.len() {
        let mut bytes = line.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        let body = String::from_utf8(bytes).unwrap();
        assert!(!matches!(read_one(&body), MarkerRead::Valid(_)), "at {at}");
    }
    for at in 0..line.len() {
        assert!(
            !matches!(read_one(line.get(..at).unwrap()), MarkerRead::Valid(_)),
            "cut at {at}"
        );
    }
}

#[test]
fn only_the_first_line_counts() {
    let line = write(&key("a"), REPO, &branch(), &marker());
    for body in [
        "",
        "hello",
        &format!("hello\n{line}"),
        &format!("\n{line}"),
        &format!(" {line}"),
    ] {
        assert_eq!(read_one(body), MarkerRead::Absent, "{body}");
    }
    assert_eq!(read_one(&format!("{line} {line}")), MarkerRead::Forged);
    assert_eq!(
        read_one(&format!("<!-- lockflight:v1 {} -->", "A".repeat(200_000))),
        MarkerRead::Forged
    );
    assert_eq!(read_one("<!-- lockflight:v2 e30 00 -->"), MarkerRead::Forged);
}

#[test]
fn a_long_way_loses_its_middle_and_stays_readable() {
    let mut long = marker();
    let hop = |number| Hop {
        repo: None,
        number: PrNumber::new(number),
        source: "clusters/[^/]*".to_owned(),
        targets: (0..9)
            .map(|n| PathInRepo::parse(format!("clusters/{number}/{n}")).unwrap())
            .collect(),
        rollback: false,
    };
    long.lineage.hops = (1..=500).map(hop).collect();
    let line = write(&key("a"), REPO, &branch(), &long);
    assert!(line.len() < 11_200, "{}", line.len());
    let MarkerRead::Valid(read) = read_one(&line) else {
        panic!("not valid");
    };
    assert_eq!(read.lineage.origin, long.lineage.origin);
    let hops = read.lineage.hops;
    assert_eq!(hops.first(), Some(&hop(1)));
    assert_eq!(hops.last(), Some(&hop(500)));
    let gaps = hops.iter().filter(|hop| hop.targets.is_empty()).count();
    assert_eq!(gaps, 1, "{hops:?}");
}

#[test]
fn even_one_huge_hop_fits() {
    let mut huge = marker();
    huge.lineage.hops = vec![Hop {
        repo: None,
        number: PrNumber::new(1),
        source: "x".repeat(100_000),
        targets: (0..1_000)
            .map(|n| PathInRepo::parse(format!("{}/{n}", "ü".repeat(2_000))).unwrap())
            .collect(),
        rollback: false,
    }];
    let line = write(&key("a"), REPO, &branch(), &huge);
    assert!(line.len() < 11_200);
    assert!(matches!(read_one(&line), MarkerRead::Valid(_)));
}

fn legacy(json: &str) -> Option<Lineage> {
    let data = STANDARD.encode(json);
    read_legacy(&format!(
        "Promotion path(nginx):\n\nx\n<!--|Telefonistka data, do not delete|{data}|-->"
    ))
}

#[test]
fn the_data_of_telefonistka_is_read_for_display() {
    let lineage = legacy(
        r#"{"originalPrAuthor":"alice","originalPrNumber":0,"promotedPaths":["clusters/lab/c1/nginx"],
            "previousPromotionPaths":{"11":{"sourcePath":"clusters/lab/","targetPaths":["clusters/staging/c1/"]},
            "10":{"sourcePath":"workspace/","targetPaths":["clusters/lab/c1/"]}}}"#,
    )
    .unwrap();
    let origin = lineage.origin.unwrap();
    assert_eq!(
        (origin.number, origin.author.as_str()),
        (PrNumber::new(10), "alice")
    );
    assert_eq!(
        lineage.hops,
        [
            Hop {
                repo: None,
                number: PrNumber::new(10),
                source: "workspace".to_owned(),
                targets: vec![PathInRepo::parse("clusters/lab/c1").unwrap()],
                rollback: false,
            },
            Hop {
                repo: None,
                number: PrNumber::new(11),
                source: "clusters/lab".to_owned(),
                targets: vec![PathInRepo::parse("clusters/staging/c1").unwrap()],
                rollback: false,
            },
        ]
    );
}

#[test]
fn what_telefonistka_could_not_have_meant_is_left_out() {
    let lineage = legacy(
        r#"{"originalPrAuthor":"<img>","originalPrNumber":3,"promotedPaths":null,
            "previousPromotionPaths":{"x":{"sourcePath":"a","targetPaths":null},"0":{"sourcePath":"a"},
            "5":{"sourcePath":"a\n@b"},"6":{"sourcePath":"a","targetPaths":["../../etc","ok"]},"7":{}}}"#,
    )
    .unwrap();
    assert_eq!(lineage.origin, None);
    assert_eq!(
        lineage.hops,
        [Hop {
            repo: None,
            number: PrNumber::new(6),
            source: "a".to_owned(),
            targets: vec![PathInRepo::parse("ok").unwrap()],
            rollback: false,
        }]
    );
    assert_eq!(legacy(r#"{"originalPrAuthor":"al"}"#), Some(Lineage::default()));
    for body in [
        "",
        "<!--|x|-->",
        "<!--|x|%%%|-->",
        "<!--|x|e30",
        "|--><!--|",
        "<!--||-->",
    ] {
        assert_eq!(read_legacy(body), None, "{body}");
    }
    assert_eq!(legacy(r#"{"originalPrNumber":-1}"#), None);
    assert_eq!(Login::parse("<img>").ok(), None);
}

proptest::proptest! {
    #[test]
    fn reading_never_panics(body in ".{0,200}", inner in ".{0,100}") {
        assert!(!matches!(read_one(&body), MarkerRead::Valid(_)));
        assert!(!matches!(read_one(&format!("<!-- lockflight:v{inner} -->")), MarkerRead::Valid(_)));
        let hidden = format!("<!--|{body}|{inner}|-->");
        assert_eq!(read_legacy(&body).or_else(|| read_legacy(&hidden)), None);
        drop(legacy(&inner));
    }
}
