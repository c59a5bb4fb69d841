//! The same mock and the same loads for a gateway that somebody else started: `benches/peers` uses them.

use super::{
    LOADS, Load, WARM_UP, WINDOW,
    drive::{Ask, run},
    mock::Mock,
    place::Core,
};
use anyhow::{Context, Result, bail};
use serde_json::{Map, json};
use std::time::Duration;

/// The argument that makes this program a mock: `ADDRESS`.
pub(crate) const MOCK: &str = "--mock";
/// The argument that makes it a load: `ADDRESS KEY PREFIX RATE [NAME:VALUE...]`; PREFIX stands before the model's name,
/// RATE is the highest rate of the open loop that is tried, each further word is a header.
pub(crate) const LOAD: &str = "--load";

/// Serves until the process is ended.
pub(crate) async fn mock(arguments: &[String]) -> Result<()> {
    let [address] = arguments else { bail!("usage: {MOCK} ADDRESS") };
    let mock = Mock::start_at(address, Core::Rest)?;
    println!("listening on http://{}", mock.address);
    std::future::pending().await
}

/// Runs the loads and prints what came of them as one JSON object.
pub(crate) async fn load(arguments: &[String]) -> Result<()> {
    let [address, key, prefix, most, headers @ ..] = arguments else {
        bail!("usage: {LOAD} ADDRESS KEY PREFIX RATE [NAME:VALUE...]")
    };
    let address = address.parse().context("the target is no address")?;
    let most: u32 = most.parse().context("the highest rate is no number")?;
    let headers: Vec<(String, String)> =
        headers.iter().filter_map(|h| h.split_once(':')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let ask = |model: &str, stream| Ask {
        headers: headers.clone(),
        ..Ask::chat(address, key, &format!("{prefix}{model}"), stream)
    };
    run(ask("mock", false), Load::Closed(16).plan(WARM_UP.max(Duration::from_secs(2)))).await?;
    let mut rows = Map::new();
    for load in [Load::Rate(50)].into_iter().chain(LOADS) {
        if matches!(load, Load::Rate(rate) if rate > most) {
            continue;
        }
        let stream = matches!(load, Load::Streams | Load::Pieces);
        let name = format!("{load:?}");
        match run(ask(load.model(), stream), load.plan(WINDOW * 2)).await {
            Ok(o) => rows.insert(
                name,
                json!({"requests_per_s": o.rate(), "p50_us": o.total.median() * 1e3,
                "p99_us": o.total.quantile(0.99) * 1e3, "first_byte_ms": o.first_byte.median(),
                "gap_p99_ms": o.gaps.quantile(0.99), "chunks_per_s": o.piece_rate()}),
            ),
            Err(e) => rows.insert(name, json!({"error": format!("{e:#}")})),
        };
    }
    println!("{}", json!(rows));
    Ok(())
}
