//! Things that are made once for each set of tables that exists for somebody.

use headframe_query_front::access::ReadScope;
use headframe_schemas::UserTable;

use crate::catalog::described::{self, Described};

/// One value for each set of tables that exists for somebody.
#[derive(Debug, Default)]
pub struct ByTables<T> {
    nothing: T,
    miner: T,
    readers: T,
    everything: T,
}

impl<T> ByTables<T> {
    /// Made of the tables of each set, those of the configuration's pipelines among them.
    pub fn make<E>(
        user_tables: &[UserTable],
        make: impl Fn(&[Described]) -> Result<T, E>,
    ) -> Result<Self, E> {
        // The tables of all miners are the same.
        let miner = ReadScope::Miner(String::new());
        let for_scope = |reads: &ReadScope| make(&described::visible_to(reads, user_tables));
        Ok(Self {
            nothing: for_scope(&ReadScope::Nothing)?,
            miner: for_scope(&miner)?,
            readers: for_scope(&ReadScope::Readers)?,
            everything: for_scope(&ReadScope::Everything)?,
        })
    }

    /// That of the tables that exist for whoever has this scope.
    pub fn for_scope(&self, reads: &ReadScope) -> &T {
        match reads {
            ReadScope::Nothing => &self.nothing,
            ReadScope::Miner(_) | ReadScope::MinerPlaces { .. } => &self.miner,
            ReadScope::Readers => &self.readers,
            ReadScope::Everything => &self.everything,
        }
    }
}
