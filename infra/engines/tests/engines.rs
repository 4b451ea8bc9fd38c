//! Each engine starts, is killed, comes back where it was, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpStream;

use recourse_engines::Engine;

#[test]
fn kafka_comes_back_where_it_was() {
    comes_back_where_it_was(recourse_engines::kafka());
}

#[test]
fn ferretdb_comes_back_where_it_was() {
    comes_back_where_it_was(recourse_engines::ferretdb());
}

#[test]
fn postgres_comes_back_where_it_was() {
    comes_back_where_it_was(recourse_engines::postgres());
}

fn comes_back_where_it_was(engine: Option<Engine>) {
    let Some(mut engine) = engine else { return };
    let reached = |engine: &Engine| {
        let address = engine.address();
        let at = address.rfind("127.0.0.1").unwrap();
        let address = address.split_at(at).1.split('/').next().unwrap();
        TcpStream::connect(address)
    };
    reached(&engine).unwrap();
    engine.kill().unwrap();
    reached(&engine).unwrap_err();
    engine.restart().unwrap();
    reached(&engine).unwrap();
    engine.pause().unwrap();
    engine.resume().unwrap();
    reached(&engine).unwrap();
}
