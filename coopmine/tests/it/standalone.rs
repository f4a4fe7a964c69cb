//! A worker without a coordinator: the program as a miner at a pool of its own.

use serde_json::json;

use crate::judge::{Judge, take_shares};
use crate::stand_in::{Peer, PoolTls, StandIn, job};
use crate::stops::Rig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_a_pool_of_its_own_mines_there_over_tls() {
    let (tls, pool) = (PoolTls::new(), StandIn::open().await);
    let address = format!("stratum+ssl://{}#{}", pool.address(), tls.fingerprint);
    let flags = ["--pool", &address, "--wallet", "4wallet", "--threads", "1"];
    let rig = Rig::start_with("light", "rig-1", &flags);
    let mut judge = Judge::new(&[1]);
    let stream = tls.accept(pool.connection().await).await.unwrap();
    let first = judge.given(job("a", 1, 1, 4));
    let mut peer = Peer::logged_in_with(stream, &first, &["algo"]).await;
    let params = &peer.login["params"];
    assert_eq!(
        (&params["login"], &params["pass"], &params["rigid"]),
        (&json!("4wallet"), &json!("x"), &json!("rig-1"))
    );
    take_shares(&mut peer, &mut judge, "a", 2).await;
    rig.end().await;
}
