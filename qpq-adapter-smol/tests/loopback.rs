//! Nodes of this adapter over real UDP, with each other and with tokio's.

#![allow(missing_docs, dead_code)]

#[macro_use]
#[path = "../../qpq-adapter-tokio/tests/suite/mod.rs"]
mod suite;

mod both {
    suite!(qpq_adapter_smol, qpq_adapter_smol);
    asks!(qpq_adapter_smol, qpq_adapter_smol);
}

mod client_of_tokio {
    suite!(qpq_adapter_tokio, qpq_adapter_smol);
    asks!(qpq_adapter_tokio, qpq_adapter_smol);
}

mod server_of_tokio {
    suite!(qpq_adapter_smol, qpq_adapter_tokio);
    asks!(qpq_adapter_smol, qpq_adapter_tokio);
}

/// The handle's futures need no executor of a certain kind.
#[test]
fn any_executor_will_do() {
    use qpq_adapter_smol::Client;
    let client = Client::open(
        &suite::pin(None),
        suite::echo::Echo::default(),
        suite::NoStore,
    );
    let (client, _) = client.expect("opens");
    let sum = futures_lite::future::block_on(client.act(|_, _| 40 + 2));
    assert_eq!(sum, Ok(42));
    futures_lite::future::block_on(client.close());
}
