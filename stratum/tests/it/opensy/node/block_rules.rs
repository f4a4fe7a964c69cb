//! What the node asks of a block by itself and of what is in it.

use super::*;

pub fn in_itself(block: &Block) -> Result<(), &'static str> {
    if !block.check_merkle_root() {
        return Err("bad-txnmrklroot");
    }
    let Some((coinbase, others)) = block.txdata.split_first() else {
        return Err("bad-blk-length");
    };
    if !coinbase.is_coinbase() {
        return Err("bad-cb-missing");
    }
    if others.iter().any(Transaction::is_coinbase) {
        return Err("bad-cb-multiple");
    }
    if !(2..=100).contains(&coinbase.input[0].script_sig.len()) {
        Err("bad-cb-length")
    } else {
        Ok(())
    }
}

pub fn content_in_place(block: &Block, height: u64) -> Result<(), &'static str> {
    let coinbase = &block.txdata[0];
    let final_at_last = coinbase.input[0].sequence == Sequence::MAX
        || u64::from(coinbase.lock_time.to_consensus_u32()) < height;
    if !final_at_last {
        return Err("bad-txns-nonfinal");
    }
    let expected = Builder::new().push_int(height as i64).into_script();
    if !coinbase.input[0]
        .script_sig
        .as_bytes()
        .starts_with(expected.as_bytes())
    {
        return Err("bad-cb-height");
    }
    let committed = coinbase
        .output
        .iter()
        .any(|output| output.script_pubkey.as_bytes().starts_with(&COMMITMENT));
    let witness = &coinbase.input[0].witness;
    if committed {
        if witness.len() != 1 || witness[0].len() != 32 {
            return Err("bad-witness-nonce-size");
        }
        if !block.check_witness_commitment() {
            return Err("bad-witness-merkle-match");
        }
    } else if block.txdata.iter().any(|transaction| {
        transaction
            .input
            .iter()
            .any(|input| !input.witness.is_empty())
    }) {
        return Err("unexpected-witness");
    }
    if block.weight().to_wu() > MAX_WEIGHT {
        Err("bad-blk-weight")
    } else {
        Ok(())
    }
}
