//! The newest rows of a view, bounded by bytes, for subscribers that each stand somewhere in it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::QueryError;
use crate::live::chunk::{Chunk, Rows};
use crate::live::position::Position;

/// The newest rows of a view.
pub(super) struct Ring {
    items: VecDeque<Item>,
    /// Everything of the view after this place and up to `through` is told by the items.
    after: Position,
    through: Position,
    bytes: usize,
    capacity: usize,
    end: Option<RingEnd>,
}

/// What is told of a piece of the view.
enum Item {
    Rows(Arc<Chunk>),
    /// The rows up to `through` were never here; the tables have them.
    Hole {
        through: Position,
    },
}

/// Why nothing comes any more.
#[derive(Debug, Clone)]
pub(super) enum RingEnd {
    /// The stream's sequences mean other messages now.
    Replaced,
    /// The condition fails on the rows that came.
    Failed(QueryError),
}

/// What a ring has for a subscriber.
pub(super) enum Next {
    /// These rows; the place after them.
    Rows(Rows, Position),
    /// Everything up to this place was had.
    Current(Position),
    /// What comes next is in the tables only, and not by the subscriber's fault.
    InTables,
    /// What comes next was here and had to make way.
    TooSlow,
    /// Nothing comes any more.
    Ended(RingEnd),
}

impl Ring {
    /// An empty ring of a view that begins after a place.
    pub(super) fn new(after: Position, capacity: usize) -> Self {
        Self {
            items: VecDeque::new(),
            after,
            through: after,
            bytes: 0,
            capacity,
            end: None,
        }
    }

    /// How far the view is known.
    pub(super) fn through(&self) -> Position {
        self.through
    }

    /// Whether a subscriber that stands at this place may read on here.
    pub(super) fn reaches(&self, position: Position) -> bool {
        position >= self.after
    }

    /// Adds rows, which begin where the ring ends. The oldest make way.
    pub(super) fn push(&mut self, chunk: Arc<Chunk>) {
        self.through = self.through.max(chunk.through);
        self.bytes += chunk.size();
        self.items.push_back(Item::Rows(chunk));
        while self.bytes > self.capacity && self.items.len() > 1 {
            match self.items.pop_front() {
                Some(Item::Rows(oldest)) => {
                    self.bytes -= oldest.size();
                    self.after = self.after.max(oldest.through);
                }
                Some(Item::Hole { through }) => self.after = self.after.max(through),
                None => return,
            }
        }
    }

    /// Notes that every row up to a place was told.
    pub(super) fn advance(&mut self, through: Position) {
        self.through = self.through.max(through);
    }

    /// Notes that the rows up to a place are not here.
    pub(super) fn skip(&mut self, through: Position) {
        if through > self.through {
            self.through = through;
            self.items.push_back(Item::Hole { through });
        }
    }

    /// Says why nothing comes any more.
    pub(super) fn finish(&mut self, end: RingEnd) {
        self.end.get_or_insert(end);
    }

    /// Whether nothing comes any more.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// What comes after a place.
    pub(super) fn next(&self, position: Position) -> Next {
        if let Some(end) = &self.end {
            return Next::Ended(end.clone());
        }
        if position < self.after {
            return Next::TooSlow;
        }
        let first = self.items.partition_point(|item| match item {
            Item::Rows(chunk) => chunk.through <= position,
            Item::Hole { through } => *through <= position,
        });
        for item in self.items.iter().skip(first) {
            match item {
                Item::Hole { .. } => return Next::InTables,
                Item::Rows(chunk) => {
                    if let Some(rows) = chunk.rows_after(position) {
                        return Next::Rows(rows, chunk.through);
                    }
                }
            }
        }
        Next::Current(self.through.max(position))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use proptest::prelude::*;

    use super::*;
    use crate::live::place_ids::PlaceIds;

    /// The rows of the messages `first..=last`, one each.
    fn chunk(first: i64, last: i64) -> Arc<Chunk> {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(first..=last));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let places: Vec<Position> = (first..=last)
            .map(|seq| Position::after_row(seq, 0))
            .collect();
        let through = Position::after_message(last);
        Arc::new(Chunk::encode(&PlaceIds::Sequences, through, &places, &batch).unwrap())
    }

    fn ids(rows: &Rows) -> Vec<i64> {
        let places = rows.each().map(|(id, _)| Position::parse(id).unwrap());
        places.map(|place| place.seq).collect()
    }

    #[test]
    fn a_subscriber_in_the_middle_of_a_chunk_is_given_the_rest_of_it() {
        let mut ring = Ring::new(Position::after_message(0), 1 << 20);
        ring.push(chunk(1, 3));
        let Next::Rows(rows, through) = ring.next(Position::after_row(1, 0)) else {
            panic!("there are rows")
        };
        assert_eq!(ids(&rows), [2, 3]);
        assert_eq!(through, Position::after_message(3));
        let text =
            "id: 2.0\nevent: row\ndata: {\"n\":2}\n\nid: 3.0\nevent: row\ndata: {\"n\":3}\n\n";
        assert_eq!(rows.events(), text);
        let data: Vec<&str> = rows.each().map(|(_, data)| data).collect();
        assert_eq!(data, ["{\"n\":2}", "{\"n\":3}"]);
    }

    #[test]
    fn a_hole_sends_to_the_tables_and_lost_rows_tell_who_is_slow() {
        let mut ring = Ring::new(Position::after_message(0), 1);
        ring.push(chunk(1, 3));
        ring.skip(Position::after_message(9));
        assert!(matches!(
            ring.next(Position::after_message(3)),
            Next::InTables
        ));
        ring.push(chunk(10, 12));
        assert!(matches!(
            ring.next(Position::after_message(3)),
            Next::TooSlow
        ));
        let Next::Rows(rows, _) = ring.next(Position::after_message(9)) else {
            panic!("there are rows")
        };
        assert_eq!(ids(&rows), [10, 11, 12]);
        ring.finish(RingEnd::Replaced);
        assert!(matches!(
            ring.next(Position::after_message(12)),
            Next::Ended(RingEnd::Replaced)
        ));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(i64),
        Advance(i64),
        Skip(i64),
        Read,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_i64..6).prop_map(Step::Push),
            1 => (1_i64..3).prop_map(Step::Advance),
            1 => (1_i64..3).prop_map(Step::Skip),
            4 => Just(Step::Read),
        ]
    }

    proptest! {
        /// Rows that a ring hands out are each next after the last one, and a subscriber is told
        /// when they are not.
        #[test]
        fn no_row_is_left_out_or_told_twice(
            steps in prop::collection::vec(step(), 1..60),
            capacity in 200_usize..2_000,
        ) {
            let mut ring = Ring::new(Position::after_message(0), capacity);
            let (mut written, mut at) = (0, Position::after_message(0));
            let (mut rows, mut had) = (Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Push(count) => {
                        rows.extend(written + 1..=written + count);
                        ring.push(chunk(written + 1, written + count));
                        written += count;
                    }
                    Step::Advance(count) => {
                        written += count;
                        ring.advance(Position::after_message(written));
                    }
                    Step::Skip(count) => {
                        rows.extend(written + 1..=written + count);
                        written += count;
                        ring.skip(Position::after_message(written));
                    }
                    Step::Read => match ring.next(at) {
                        Next::Rows(found, through) => {
                            had.extend(ids(&found));
                            at = through;
                        }
                        Next::Current(through) => at = through,
                        // The tables have them.
                        Next::InTables | Next::TooSlow => {
                            had.extend(rows.iter().filter(|seq| **seq > at.seq));
                            at = ring.through();
                        }
                        Next::Ended(_) => unreachable!(),
                    },
                }
                let due: Vec<i64> = rows.iter().copied().filter(|seq| *seq <= at.seq).collect();
                prop_assert_eq!(&had, &due);
            }
        }
    }
}
