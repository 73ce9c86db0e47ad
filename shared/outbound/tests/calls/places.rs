//! Where calls go, and where they do not.

use lockflight_outbound::{Address, Cidr, HostPattern, Outbound, OutboundConfig, OutboundError};
use lockflight_promotion::ErrorClass;

use super::support::{Names, Server, allowing, client, client_with, says, url};

async fn get(outbound: &Outbound, url: &str) -> Result<String, OutboundError> {
    let answer = outbound.get(&Address::parse(url).unwrap()).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

#[tokio::test]
async fn an_allowed_host_is_called_by_the_address_that_was_judged() {
    let server = Server::start(says("{}")).await;
    let outbound = client(&server);
    assert_eq!(get(&outbound, &url(&server, "/a?b=c#d")).await.unwrap(), "{}");
    let head = server.heads().remove(0).to_lowercase();
    assert!(head.starts_with("get /a?b=c http/1.1\r\n"), "{head}");
    let host = format!("host: gate.example.com:{}\r\n", server.port());
    for header in [
        &host,
        "accept-encoding: identity\r\n",
        "accept: application/json\r\n",
        "user-agent: lockflight/",
    ] {
        assert!(head.contains(header), "{head}");
    }
    assert!(
        !head.contains("authorization") && !head.contains("cookie"),
        "{head}"
    );
}

#[tokio::test]
async fn nothing_is_called_that_the_operator_does_not_list() {
    let server = Server::start(says("{}")).await;
    let names = Names::saying(&[&["127.0.0.1"]]);
    let outbound = Outbound::with_resolver(OutboundConfig::default(), names.clone()).unwrap();
    let refused = get(&outbound, &url(&server, "/secret")).await.unwrap_err();
    assert_eq!(refused.class(), ErrorClass::User);
    let said = refused.to_string();
    let pattern = format!("\"http://gate.example.com:{}\"", server.port());
    assert!(
        said.contains(&pattern) && said.contains("[outbound] allowed_hosts"),
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
    assert_eq!(names.asked(), [""; 0], "its name was looked up");
    // What the message says to add is what lets it through.
    let listed = allowing(&[pattern.trim_matches('"')]);
    let outbound = Outbound::with_resolver(listed, names).unwrap();
    assert!(get(&outbound, &url(&server, "/")).await.is_ok());
}

#[tokio::test]
async fn a_listed_host_with_a_private_address_is_refused() {
    let server = Server::start(says("{}")).await;
    for (address, class_of_refusal) in [
        ("127.0.0.1", "private"),
        ("10.1.2.3", "private"),
        ("::1", "private"),
        ("::ffff:127.0.0.1", "private"),
        ("64:ff9b::7f00:1", "private"),
        ("fd12::1", "private"),
        ("100.64.0.1", "private"),
        ("169.254.169.254", "refused"),
        ("fd00:ec2::254", "refused"),
        ("2002:7f00:1::", "refused"),
        ("0.0.0.0", "refused"),
        ("224.0.0.1", "refused"),
    ] {
        let outbound = Outbound::with_resolver(
            OutboundConfig {
                allow_private: Vec::new(),
                ..allowing(&[&format!("http://gate.example.com:{}", server.port())])
            },
            Names::saying(&[&[address]]),
        )
        .unwrap();
        let refused = get(&outbound, &url(&server, "/")).await.unwrap_err();
        let as_meant = match &refused {
            OutboundError::Private { .. } => class_of_refusal == "private",
            OutboundError::Refused { .. } => class_of_refusal == "refused",
            _ => false,
        };
        assert!(as_meant, "{address}: {refused}");
        assert_eq!(refused.class(), ErrorClass::User);
    }
    assert_eq!(server.heads(), [""; 0]);
}

#[tokio::test]
async fn metadata_is_refused_even_where_everything_private_is_open() {
    for (address, host) in [
        ("169.254.169.254", "http://169.254.169.254"),
        ("[::ffff:169.254.169.254]", "http://169.254.169.254"),
        ("[::ffff:169.254.169.254]", "http://[::ffff:169.254.169.254]"),
        ("[64:ff9b::169.254.169.254]", "http://[64:ff9b::a9fe:a9fe]"),
        ("[fd00:ec2::254]", "http://[fd00:ec2::254]"),
        ("0xa9fea9fe", "http://169.254.169.254"),
        ("[2002:a9fe:a9fe::]", "http://[2002:a9fe:a9fe::]"),
    ] {
        let config = OutboundConfig {
            allowed_hosts: vec![HostPattern::parse(host).unwrap()],
            allow_private: vec![Cidr::parse("0.0.0.0/0").unwrap(), Cidr::parse("::/0").unwrap()],
            ..OutboundConfig::default()
        };
        let outbound = Outbound::new(config).unwrap();
        let refused = get(&outbound, &format!("http://{address}/latest/meta-data"))
            .await
            .unwrap_err();
        assert!(
            matches!(
                refused,
                OutboundError::Refused { .. } | OutboundError::NotAllowed { .. }
            ),
            "{address}: {refused}"
        );
    }
}

#[tokio::test]
async fn a_literal_address_is_judged_as_a_name_is() {
    let server = Server::start(says("{}")).await;
    let port = server.port();
    let host = format!("http://127.0.0.1:{port}");
    let closed = OutboundConfig {
        allow_private: Vec::new(),
        ..allowing(&[&host])
    };
    let closed = Outbound::new(closed).unwrap();
    let open = Outbound::new(allowing(&[&host])).unwrap();
    for spelling in ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.01", "127.1"] {
        let url = format!("http://{spelling}:{port}/");
        let refused = get(&closed, &url).await.unwrap_err();
        assert!(
            matches!(refused, OutboundError::Private { .. }),
            "{spelling}: {refused}"
        );
        assert_eq!(get(&open, &url).await.unwrap(), "{}", "{spelling}");
    }
}

#[tokio::test]
async fn a_name_that_means_something_else_the_second_time_gains_nothing() {
    let server = Server::start(says("{}")).await;
    // Judged is the first address. If the connector looked again, it would reach the second.
    let names = Names::saying(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let mut config = allowing(&[&format!("http://gate.example.com:{}", server.port())]);
    config.allow_private = vec![Cidr::parse("127.0.0.1").unwrap()];
    let outbound = Outbound::with_resolver(config, names.clone()).unwrap();
    assert_eq!(get(&outbound, &url(&server, "/")).await.unwrap(), "{}");
    assert_eq!(names.asked(), ["gate.example.com"], "one call, one look-up");
    // The next call looks again, and judges again.
    let refused = get(&outbound, &url(&server, "/")).await.unwrap_err();
    assert!(matches!(refused, OutboundError::Private { .. }), "{refused}");
    assert_eq!(names.asked().len(), 2);
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn one_private_address_spoils_the_others() {
    let server = Server::start(says("{}")).await;
    for answer in [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"]] {
        let config = allowing(&[&format!("http://gate.example.com:{}", server.port())]);
        let outbound = Outbound::with_resolver(config, Names::saying(&[&answer])).unwrap();
        let refused = get(&outbound, &url(&server, "/")).await.unwrap_err();
        let said = refused.to_string();
        assert!(matches!(refused, OutboundError::Private { .. }), "{said}");
        assert!(
            said.contains("10.0.0.1 is a private address") && said.contains("[outbound] allow_private"),
            "{said}"
        );
    }
    assert_eq!(server.heads(), [""; 0]);
}

#[tokio::test]
async fn the_next_address_is_tried_where_the_first_takes_no_connection() {
    // Nobody listens on that port of the other loopback address.
    let server = Server::start(says("{}")).await;
    let config = allowing(&[&format!("http://gate.example.com:{}", server.port())]);
    let names = Names::saying(&[&["127.0.0.9", "127.0.0.1"]]);
    let outbound = Outbound::with_resolver(config.clone(), names).unwrap();
    assert_eq!(get(&outbound, &url(&server, "/")).await.unwrap(), "{}");
    let outbound = Outbound::with_resolver(config, Names::saying(&[&["127.0.0.9"]])).unwrap();
    let refused = get(&outbound, &url(&server, "/")).await.unwrap_err();
    assert!(matches!(refused, OutboundError::Connect { .. }), "{refused}");
    assert_eq!(refused.class(), ErrorClass::Retry);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_said_to() {
    let server = Server::start(says("{}")).await;
    let config = allowing(&[&format!("http://gate.example.com:{}", server.port())]);
    let outbound = Outbound::with_resolver(config, Names::saying(&[&[]])).unwrap();
    let failed = get(&outbound, &url(&server, "/")).await.unwrap_err();
    assert!(matches!(failed, OutboundError::LookUp { .. }), "{failed}");
    assert!(
        failed.in_full().ends_with("could not be looked up: no such name"),
        "{}",
        failed.in_full()
    );
    assert_eq!(failed.class(), ErrorClass::Retry);
}

#[tokio::test]
async fn the_system_looks_names_up_where_nothing_else_is_said() {
    let server = Server::start(says("{}")).await;
    let mut config = allowing(&[&format!("http://localhost:{}", server.port())]);
    let url = format!("http://localhost:{}/", server.port());
    assert_eq!(
        get(&Outbound::new(config.clone()).unwrap(), &url).await.unwrap(),
        "{}"
    );
    config.allow_private.clear();
    let refused = get(&Outbound::new(config).unwrap(), &url).await.unwrap_err();
    assert!(matches!(refused, OutboundError::Private { .. }), "{refused}");
}

#[tokio::test]
async fn an_ipv6_address_is_called() {
    let Ok(probe) = tokio::net::TcpListener::bind("[::1]:0").await else {
        // A machine without IPv6 has nothing to show here.
        return;
    };
    drop(probe);
    let server = Server::start_on("[::1]:0", says("{}")).await;
    let config = allowing(&[&format!("http://[::1]:{}", server.port())]);
    let outbound = Outbound::new(config).unwrap();
    let url = format!("http://[0:0:0:0:0:0:0:1]:{}/", server.port());
    assert_eq!(get(&outbound, &url).await.unwrap(), "{}");
    let host = format!("Host: [::1]:{}\r\n", server.port()).to_lowercase();
    assert!(server.heads().remove(0).to_lowercase().contains(&host));
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_another() {
    let other = Server::start(says("{}")).await;
    let location = format!("Location: {}", url(&other, "/"));
    let server = Server::start(super::support::answer("302 Found", &[&location], "")).await;
    let outbound = client_with(&server, |config| {
        let other = format!("http://gate.example.com:{}", other.port());
        config.allowed_hosts.push(HostPattern::parse(&other).unwrap());
    });
    let address = Address::parse(&url(&server, "/")).unwrap();
    assert_eq!(outbound.get(&address).await.unwrap().status, 302);
    assert_eq!(other.heads(), [""; 0]);
}
