//! Names to addresses, once per call.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use futures::future::BoxFuture;
use url::Host;

use crate::address::Address;
use crate::cidr::Cidr;
use crate::error::OutboundError;
use crate::range::{Judged, Kind, judge};

/// More addresses of one name are not tried.
const MOST_ADDRESSES: usize = 8;

/// An answer of a [`Resolve`] that is on its way.
pub type Resolving<'a> = BoxFuture<'a, io::Result<Vec<IpAddr>>>;

/// Looks up names. What it says is judged before anything is called.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `name`, in the order in which they are to be tried.
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a>;
}

/// The system's way to look up names, with its `hosts` file and search domains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System;

impl Resolve for System {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Where `address` may be called: each of its addresses, judged. There is at least one.
///
/// One that may not be called spoils all: a host that mixes the two is either misconfigured or playing tricks.
pub(crate) async fn places(
    resolver: &dyn Resolve,
    address: &Address,
    private: &[Cidr],
) -> Result<Vec<SocketAddr>, OutboundError> {
    let found = match address.host() {
        Host::Ipv4(v4) => vec![IpAddr::V4(*v4)],
        Host::Ipv6(v6) => vec![IpAddr::V6(*v6)],
        Host::Domain(name) => resolver
            .resolve(name)
            .await
            .map_err(|source| OutboundError::LookUp {
                to: address.to_string(),
                source,
            })?,
    };
    let mut places = Vec::new();
    for found in found {
        let place = SocketAddr::new(allowed(address, found, private)?, address.port());
        if !places.contains(&place) {
            places.push(place);
        }
    }
    if places.is_empty() {
        return Err(OutboundError::NoAddress {
            to: address.to_string(),
        });
    }
    places.truncate(MOST_ADDRESSES);
    Ok(places)
}

/// The address to connect to, if that is allowed.
fn allowed(to: &Address, found: IpAddr, private: &[Cidr]) -> Result<IpAddr, OutboundError> {
    let Judged {
        address,
        inside,
        kind,
    } = judge(found);
    match kind {
        Kind::Public => Ok(address),
        Kind::Private(_) if private.iter().any(|range| range.contains(inside)) => Ok(address),
        Kind::Private(what) => Err(OutboundError::Private {
            to: to.to_string(),
            address: inside,
            what,
        }),
        Kind::Never(what) => Err(OutboundError::Refused {
            to: to.to_string(),
            address: inside,
            what,
        }),
    }
}
