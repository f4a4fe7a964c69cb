//! A payer's view of the simulated streams.

use futures::future::BoxFuture;

use super::*;

/// A payer's view of the streams.
pub struct SimJournal {
    world: World,
    payouts: usize,
    payments: usize,
    instructions: usize,
    born: i64,
    /// The transactions that lay in the vault then.
    kept: BTreeSet<String>,
}

impl SimJournal {
    pub fn new(world: &World) -> Self {
        let kept = world
            .inside()
            .vault
            .keys()
            .map(|(_, tx_id)| tx_id.clone())
            .filter(|name| !name.contains('-'))
            .collect();
        Self {
            world: world.clone(),
            payouts: 0,
            payments: 0,
            instructions: 0,
            born: world.inside().now,
            kept,
        }
    }

    /// Stores a step, which must be right by what was read so far.
    fn store(&self, inside: &mut Inside, rows: &[Payment]) {
        let read = Facts {
            payouts: &inside.payouts[..self.payouts],
            payments: &inside.payments,
            instructions: &inside.instructions[..self.instructions],
        };
        let Inside {
            kind,
            now,
            sent,
            vault,
            lost,
            ..
        } = &*inside;
        let moment = Moment {
            kind: *kind,
            now: *now,
            born: self.born,
            kept: &self.kept,
            sent,
            vault,
            lost: *lost,
        };
        invariants::uphold(&read, &moment, &inside.config, rows);
        inside.payments.push(rows.to_vec());
    }
}

impl Journal for SimJournal {
    fn catch_up<'a>(
        &'a mut self,
        ledger: &'a mut Ledger,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            give_way().await;
            {
                let inside = self.world.inside();
                let former = inside.former.max(self.payments);
                inside.payments[self.payments..former]
                    .iter()
                    .for_each(|rows| ledger.apply_payment(rows));
                if self.payments == 0 {
                    ledger.mark_stream_replaced();
                }
                inside.payments[former..]
                    .iter()
                    .for_each(|rows| ledger.apply_payment(rows));
                self.payments = inside.payments.len();
                inside.instructions[self.instructions..]
                    .iter()
                    .for_each(|row| ledger.apply_instruction(row));
                self.instructions = inside.instructions.len();
                ledger.apply_payouts(&inside.payouts[self.payouts..]);
                self.payouts = inside.payouts.len();
            }
            give_way().await;
            Ok(())
        })
    }

    fn append<'a>(&'a mut self, rows: &'a [Payment]) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            give_way().await;
            let answer = {
                let mut inside = self.world.inside();
                let known = inside.payments.len() == self.payments;
                match inside.luck() {
                    _ if !known => Err(JournalError::Conflict("somebody was faster".to_owned())),
                    Luck::Before => Err(JournalError::Unknown("no answer".to_owned())),
                    Luck::Good => {
                        self.store(&mut inside, rows);
                        self.payments += 1;
                        Ok(())
                    }
                    Luck::After => {
                        self.store(&mut inside, rows);
                        Err(JournalError::Unknown("no answer".to_owned()))
                    }
                }
            };
            give_way().await;
            answer
        })
    }

    fn position(&self) -> i64 {
        self.payments as i64
    }
}
