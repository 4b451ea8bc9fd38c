//! A wire does what it is told, to connections that there are and to new ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use recourse_engines::{Proxy, Wire};

/// Long enough to be sure that nothing comes, short enough to wait for.
const A_WHILE: Duration = Duration::from_millis(200);
/// Longer than anything here takes, on a machine that builds beside it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that says back what it is told, and a wire to it.
fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::bind().unwrap();
    let server = listener.local_addr().unwrap().to_string();
    proxy.lead_to(&server).unwrap();
    thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            thread::spawn(move || {
                let mut bytes = [0; 1024];
                while let Ok(read @ 1..) = client.read(&mut bytes) {
                    if client.write_all(bytes.get(..read).unwrap()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    proxy
}

fn connect(proxy: &Proxy) -> TcpStream {
    let client = TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn says(mut client: &TcpStream, what: &str) {
    client.write_all(what.as_bytes()).unwrap();
}

fn hears(mut client: &TcpStream, what: &str) {
    let mut bytes = vec![0; what.len()];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), what);
}

/// The connection ends, and not in good order.
fn is_reset(mut client: &TcpStream) {
    let error = client.read(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn what_goes_over_a_whole_wire_arrives_to_the_end() {
    let proxy = echo();
    let mut client = connect(&proxy);
    let said = "x".repeat(300_000);
    thread::scope(|scope| {
        scope.spawn(|| {
            says(&client, &said);
            client.shutdown(std::net::Shutdown::Write).unwrap();
        });
        hears(&client, &said);
    });
    assert_eq!(
        client.read(&mut [0; 16]).unwrap(),
        0,
        "an end in good order"
    );
    assert_eq!(proxy.cuts(), 0);
}

#[test]
fn a_cut_wire_resets_who_is_there_and_who_comes_until_it_is_whole() {
    let proxy = echo();
    let client = connect(&proxy);
    says(&client, "before");
    hears(&client, "before");
    proxy.set(Wire::Cut);
    is_reset(&client);
    // Taken by the system before it is cut, or refused at once.
    if let Ok(client) = TcpStream::connect(proxy.address()) {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        is_reset(&client);
    }
    assert!(proxy.cuts() >= 2);
    proxy.set(Wire::Whole);
    let client = connect(&proxy);
    says(&client, "after");
    hears(&client, "after");
}

#[test]
fn a_stalled_wire_takes_everything_and_hands_it_on_later() {
    let proxy = echo();
    let (old, new);
    old = connect(&proxy);
    says(&old, "before");
    hears(&old, "before");
    proxy.set(Wire::Stalled);
    new = connect(&proxy);
    for mut client in [&old, &new] {
        says(client, "held back");
        client.set_read_timeout(Some(A_WHILE)).unwrap();
        client.read(&mut [0; 16]).unwrap_err();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    proxy.set(Wire::Whole);
    for client in [&old, &new] {
        hears(client, "held back");
    }
    assert_eq!(proxy.cuts(), 0);
}

#[test]
fn a_stalled_wire_can_be_cut() {
    let proxy = echo();
    let client = connect(&proxy);
    proxy.set(Wire::Stalled);
    says(&client, "lost");
    proxy.set(Wire::Cut);
    is_reset(&client);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long a real wire takes")]
fn a_slow_wire_takes_its_time_both_ways() {
    let proxy = echo();
    let client = connect(&proxy);
    proxy.set(Wire::Slow(A_WHILE));
    let begun = Instant::now();
    says(&client, "slowly");
    hears(&client, "slowly");
    assert!(begun.elapsed() >= A_WHILE * 2, "{:?}", begun.elapsed());
}

#[test]
fn a_wire_is_cut_in_the_middle_of_what_is_said() {
    let proxy = echo();
    let client = connect(&proxy);
    says(&client, "whole");
    hears(&client, "whole");
    proxy.set(Wire::CutAfter(4));
    says(&client, "in the middle");
    // Whatever the server made of the beginning does not come back.
    let mut said = Vec::new();
    let error = (&client).read_to_end(&mut said).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(said.len() <= 4, "{said:?}");
    assert_eq!(proxy.cuts(), 1);
    // A new connection has as much, and what it says is heard.
    let client = connect(&proxy);
    says(&client, "four");
    hears(&client, "four");
    says(&client, "!");
    is_reset(&client);
    assert_eq!(proxy.cuts(), 2);
}

#[test]
fn a_wire_to_nowhere_refuses() {
    let proxy = Proxy::bind().unwrap();
    if let Ok(client) = TcpStream::connect(proxy.address()) {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        is_reset(&client);
    }
}
