//! What a restart takes from the segments: the newest snapshot that can be read and the entries
//! after it, and what of them is lost.

use serde::de::DeserializeOwned;

use super::Recovered;
use super::segment::{self, Content, Segment};

/// An entry with its journal and its sequence.
type SequencedEntry<E> = (u64, u64, E);

/// What a restart needs, and the last sequence that there is.
pub(super) fn recover<S: DeserializeOwned, E: DeserializeOwned>(
    segments: &[Segment],
) -> (Recovered<S, E>, Option<u64>) {
    let mut recovered = Recovered {
        snapshot: None,
        entries: Vec::new(),
        complaints: Vec::new(),
        damage: Vec::new(),
        newest_segment: segments.iter().map(|one| one.first_seq).max(),
    };
    let (mut last_seq, mut later) = (None, Vec::new());
    // From the newest back to the first with a snapshot that can be read.
    for one in segments.iter().rev() {
        let content = match segment::read(one, 0) {
            Ok(content) => content,
            Err(error) => {
                recovered.note_loss(format!("{}: {error}", one.path.display()));
                later.clear();
                continue;
            }
        };
        let newest = content.entries.last().map(|entry| entry.seq);
        last_seq = last_seq.max(newest).max(Some(one.first_seq));
        recovered.note_damage(one, &content);
        let (mut entries, is_readable) = recovered.entries_of(one, &content);
        // What follows an entry that cannot be read cannot be replayed.
        match is_readable {
            true => join(one, &mut entries, &mut later, &mut recovered),
            false => later.clear(),
        }
        later = entries;
        let Some(text) = &content.snapshot else {
            continue;
        };
        match serde_json::from_str(text) {
            Ok(state) => {
                recovered.snapshot = Some(state);
                break;
            }
            Err(error) => recovered.note_loss(format!("{}, snapshot: {error}", one.path.display())),
        }
    }
    if recovered.snapshot.is_some() {
        recovered.entries = later.into_iter().map(|(_, _, entry)| entry).collect();
    } else if !segments.is_empty() {
        recovered.note_loss("no snapshot can be read".to_owned());
    }
    (recovered, last_seq)
}

/// Adds the entries of later segments to those of an earlier one. What was written again after
/// trouble counts once, and what is missing between them ends what can be replayed.
fn join<S, E>(
    segment: &Segment,
    entries: &mut Vec<SequencedEntry<E>>,
    later: &mut Vec<SequencedEntry<E>>,
    recovered: &mut Recovered<S, E>,
) {
    let Some((journal, first, _)) = later.first() else {
        return;
    };
    let (journal, first) = (*journal, *first);
    entries.retain(|(own, seq, _)| *own != journal || *seq < first);
    let (own, expected) = match entries.last() {
        Some((own, seq, _)) => (*own, seq.saturating_add(1)),
        None => (journal, segment.first_seq),
    };
    if own == journal && expected == first {
        entries.append(later);
        return;
    }
    recovered.note_loss(format!(
        "entries between {expected} and {first} are missing"
    ));
    later.clear();
}

impl<S, E> Recovered<S, E> {
    fn note_loss(&mut self, what: String) {
        self.complaints.push(what.clone());
        self.damage.push(what);
    }

    /// A last line without an end is what a kill leaves; nothing else is.
    fn note_damage(&mut self, segment: &Segment, content: &Content) {
        let path = segment.path.display();
        match &content.complaint {
            Some(complaint) if content.is_torn => self.complaints.push(complaint.clone()),
            Some(complaint) => self.note_loss(complaint.clone()),
            None if segment.bytes == 0 => self.note_loss(format!("{path}: it is empty")),
            None => {}
        }
    }
}

impl<S, E: DeserializeOwned> Recovered<S, E> {
    /// The entries of a segment up to the first that is not understood, and whether all are.
    fn entries_of(
        &mut self,
        segment: &Segment,
        content: &Content,
    ) -> (Vec<SequencedEntry<E>>, bool) {
        let mut entries: Vec<SequencedEntry<E>> = Vec::with_capacity(content.entries.len());
        for raw in &content.entries {
            let path = segment.path.display();
            let before = entries.last().map(|(_, seq, _)| seq.saturating_add(1));
            if before.is_some_and(|expected| expected != raw.seq) {
                self.note_loss(format!("{path}: entries before {} are missing", raw.seq));
                return (entries, false);
            }
            match serde_json::from_str(&raw.text) {
                Ok(entry) => entries.push((raw.journal, raw.seq, entry)),
                Err(error) => {
                    self.note_loss(format!("{path}, entry {}: {error}", raw.seq));
                    return (entries, false);
                }
            }
        }
        (entries, true)
    }
}
