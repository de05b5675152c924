//! Addresses as others reach them: a wildcard listener is no address to tell anybody.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses kept for documentation (RFC 5737, RFC 3849): a route to them is the default route.
const FAR_V4: &str = "192.0.2.1:9";
const FAR_V6: &str = "[2001:db8::1]:9";

/// Where a listener is reached: its own address, or for a wildcard what is advertised, or else the address
/// that this machine has towards its default route.
pub(super) fn reachable(listen: SocketAddr, advertised: &[SocketAddr]) -> Vec<SocketAddr> {
    match (listen.ip().is_unspecified(), advertised.is_empty()) {
        (false, _) => vec![listen],
        (true, false) => advertised.to_vec(),
        (true, true) => vec![SocketAddr::new(own_address(listen.is_ipv6()), listen.port())],
    }
}

/// Asks the system by connecting a socket that sends nothing; the loopback address where there is no route.
fn own_address(v6: bool) -> IpAddr {
    let (any, far, loopback) = match v6 {
        false => ("0.0.0.0:0", FAR_V4, IpAddr::V4(Ipv4Addr::LOCALHOST)),
        true => ("[::]:0", FAR_V6, IpAddr::V6(Ipv6Addr::LOCALHOST)),
    };
    let ask = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect(far)?;
        socket.local_addr()
    };
    ask().map_or(loopback, |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_never_told() {
        let told: SocketAddr = "10.1.2.3:3260".parse().unwrap();
        for listen in ["0.0.0.0:3260", "[::]:3260"] {
            let listen: SocketAddr = listen.parse().unwrap();
            assert_eq!(reachable(listen, &[told]), [told]);
            let own = reachable(listen, &[]);
            assert!(own.len() == 1 && !own[0].ip().is_unspecified() && own[0].port() == 3260, "{own:?}");
        }
        assert_eq!(reachable(told, &["10.9.9.9:3260".parse().unwrap()]), [told]);
    }
}
