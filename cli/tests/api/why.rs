//! `recourse why` and what it prints: the same text from the API, from the command and from the
//! folder of a server that runs.

use serde_json::{Value, json};

use crate::server::{Server, recourse};

/// What the command prints of an order or a saga, asked of the server and of its folder.
fn printed(server: &Server, id: &str) -> String {
    let url = format!("http://{}", server.address());
    let data = server.data();
    let of = |name: &str, value: &std::ffi::OsStr| {
        let mut why = recourse();
        let output = why.args(["why", id, name]).arg(value).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let served = of("--url", url.as_ref());
    assert_eq!(of("--data", data.as_ref()), served);
    served
}

fn id(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap().to_owned()
}

#[test]
fn the_same_is_told_by_the_api_by_the_command_and_from_the_folder() {
    let server = Server::start();
    server.stocked("tea", 10);
    let placed = server.order("tea", 1, "tok_lost_reply");
    let placed = placed.header("correlation-id", "checkout-81").wait(20);
    let placed = placed.send().expect(201);
    let (order, saga) = (
        id(&placed.json(), "order_id"),
        id(&placed.json(), "saga_id"),
    );
    let of_saga = server.get(&format!("/v1/sagas/{saga}/why")).after(&placed);
    let of_saga = of_saga.send().expect(200).json();
    let text = id(&of_saga, "text");
    assert_eq!(printed(&server, &saga), text);
    for told in [
        "a client orders 1 of tea for 10.00 EUR, by request checkout-81",
        "the payment provider gives no clear answer",
        "is completed: everything is done",
        "nothing is awaited",
    ] {
        assert!(text.contains(told), "{text}");
    }
    assert!(of_saga.get("awaits").is_none() && of_saga.get("actions").is_none());
    // With a return the order has two sagas, told in the order of time.
    let body = json!({"lines": [{"sku": "tea", "quantity": 1}], "reason": "too bitter"});
    let returned = server.post(&format!("/v1/orders/{order}/returns"), &body);
    returned.wait(20).send().expect(201);
    let of_order = server.get(&format!("/v1/orders/{order}/why")).send();
    let of_order = of_order.expect(200).json();
    assert_eq!(printed(&server, &order), id(&of_order, "text"));
    let times: Vec<_> = of_order["lines"].as_array().unwrap().iter().collect();
    assert!(times.is_sorted_by_key(|line| line["at"].as_str().unwrap().to_owned()));
    assert_eq!(of_order["now"].as_array().unwrap().len(), 3);
    for text in [text, id(&of_order, "text")] {
        assert!(!text.contains("tok_"), "{text}");
    }
}

#[test]
fn what_a_saga_waits_for_and_what_helps_a_stuck_one_is_told() {
    let server = Server::start_with(&["--step-timeout-ms", "20000"]);
    server.stocked("tea", 10);
    let slow = server.order("tea", 1, "tok_slow_30000").send().expect(202);
    let slow = id(&slow.json(), "order_id");
    let path = format!("/v1/orders/{slow}/why");
    // The answer takes half a minute; what is asked before is a matter of milliseconds.
    let why = (0..10_000)
        .map(|_| server.get(&path).send().expect(200).json())
        .find(|why| {
            let what = why["awaits"][0]["what"].as_str().unwrap();
            what.contains("to authorize-payment (the payment provider is being asked")
        });
    let why = why.expect("the provider is asked");
    let then = why["awaits"][0]["then"].as_str().unwrap();
    assert!(then.contains("Otherwise the saga turns back: it undoes authorize-payment"));
    assert_eq!(printed(&server, &slow), why["text"].as_str().unwrap());

    let stuck = server.order("tea", 1, "tok_capture_refused").wait(20);
    let stuck = id(&stuck.send().expect(202).json(), "saga_id");
    let why = server.get(&format!("/v1/sagas/{stuck}/why")).send();
    let why = why.expect(200).json();
    let actions = why["actions"].as_array().unwrap();
    let names: Vec<_> = actions
        .iter()
        .map(|its| its["action"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["retry", "compensate", "skip"]);
    // What is told of an action can be run as it stands.
    let command = actions[1]["command"].as_str().unwrap();
    let args: Vec<_> = command.split(' ').skip(1).collect();
    let url = format!("http://{}", server.address());
    let dry = recourse()
        .args(args)
        .args(["--url", &url])
        .output()
        .unwrap();
    assert!(dry.status.success(), "{dry:?}");
    assert!(
        String::from_utf8(dry.stdout)
            .unwrap()
            .contains("nothing is done")
    );
}

#[test]
fn what_is_no_order_and_no_saga_is_said_with_what_to_do() {
    let server = Server::start();
    let url = format!("http://{}", server.address());
    let nothing = "0d7cbbb4-8f6c-4b7e-9f6e-1d1f5a2b3c4d";
    let data = server.data();
    for (name, value) in [("--url", url.as_ref()), ("--data", data.as_os_str())] {
        let mut why = recourse();
        let output = why
            .args(["why", nothing, name])
            .arg(value)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("neither an order nor a saga"), "{said}");
    }
    let usage = recourse().args(["why", "9a1e"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let said = String::from_utf8(usage.stderr).unwrap();
    assert!(said.contains("recourse sagas list"), "{said}");
}
