//! XLM-RoBERTa's and CamemBERT's Unigram: of the ways to divide a word into pieces, the one whose scores add up to the most
//! (Kudo, 2018, <https://arxiv.org/abs/1804.10959>; the search is Viterbi's).
//!
//! The crate `tokenizers` has one too, whose trie has a hash table for each byte of the pieces: some 350 bytes of memory for
//! each, and as many nested frees when it is dropped. Here the trie is three flat arrays, 9 bytes for each. The answers are the
//! same, token for token.

use super::fields::Pieces;
use crate::error::TokenizerError;
use crate::limits::{check_pieces, out_of_bounds};
use std::fmt;
use std::ops::Range;
use tokenizers::Token;

/// How much less than the least piece an unknown character scores, as SentencePiece has it.
const UNKNOWN_PENALTY: f64 = 10.0;
/// No piece.
const NONE: u32 = u32::MAX;

/// The pieces, one behind the other by id.
struct PieceTexts {
    text: String,
    ends: Vec<u32>,
}

impl PieceTexts {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, id: usize) -> Option<&str> {
        let end = *self.ends.get(id)? as usize;
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[start as usize..end])
    }

    fn bytes(&self, id: u32) -> &[u8] {
        self.get(id as usize).unwrap_or_default().as_bytes()
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|id| self.get(id))
    }
}

/// The pieces by their bytes. Nodes are in the order of their depth, then of their bytes, so that the children of a node are
/// neighbours.
struct Trie {
    /// The last byte of each node's text; the root has none.
    labels: Vec<u8>,
    /// Where the children of each node begin; those of the next end them.
    children: Vec<u32>,
    /// The piece that each node is; of equal ones the last.
    pieces: Vec<u32>,
}

impl Trie {
    const ROOT: usize = 0;

    fn new(texts: &PieceTexts) -> Self {
        // Ids and nodes are fewer than the bytes of a file.
        let mut order: Vec<u32> = (0..texts.len() as u32).collect();
        order.sort_unstable_by_key(|&id| (texts.bytes(id), id));
        let mut trie = Self {
            labels: vec![0],
            children: Vec::new(),
            pieces: Vec::new(),
        };
        // The nodes of one depth, each as the pieces that begin with it.
        let mut level: Vec<Range<u32>> = std::iter::once(0..order.len() as u32).collect();
        let mut depth = 0;
        while !level.is_empty() {
            let mut below = Vec::new();
            for Range { start, end } in level {
                let ids = &order[start as usize..end as usize];
                let own = ids.partition_point(|&id| texts.bytes(id).len() == depth);
                trie.pieces
                    .push(own.checked_sub(1).map_or(NONE, |last| ids[last]));
                trie.children.push(trie.labels.len() as u32);
                let mut at = own;
                while let Some(&id) = ids.get(at) {
                    let label = texts.bytes(id)[depth];
                    let same = |&id: &u32| texts.bytes(id)[depth] == label;
                    let until = at + ids[at..].partition_point(same);
                    trie.labels.push(label);
                    below.push(start + at as u32..start + until as u32);
                    at = until;
                }
            }
            level = below;
            depth += 1;
        }
        trie.children.push(trie.labels.len() as u32);
        trie
    }

    fn child(&self, node: usize, label: u8) -> Option<usize> {
        let children = self.children[node] as usize..self.children[node + 1] as usize;
        let found = self.labels[children.clone()].binary_search(&label).ok()?;
        Some(children.start + found)
    }

    /// The pieces that a text begins with, the shortest first, each with its length. The empty piece isn't among them.
    fn prefixes<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, u32)> {
        let mut node = Self::ROOT;
        let walk = text.iter().map_while(move |&byte| {
            node = self.child(node, byte)?;
            Some(self.pieces[node])
        });
        (1..).zip(walk).filter(|(_, piece)| *piece != NONE)
    }

    fn get(&self, text: &str) -> Option<u32> {
        let mut bytes = text.bytes();
        let node = bytes.try_fold(Self::ROOT, |node, byte| self.child(node, byte))?;
        Some(self.pieces[node]).filter(|piece| *piece != NONE)
    }
}

/// The best division of a word up to a place.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    /// The last piece, and its length in bytes; zero where no piece ends.
    piece: u32,
    len: u32,
}

/// Pieces with their scores.
pub(crate) struct Unigram {
    texts: PieceTexts,
    scores: Vec<f64>,
    trie: Trie,
    unknown: Option<u32>,
    unknown_score: f64,
    /// Whether what has no piece becomes one of the pieces "<0x00>" to "<0xFF>" for each byte.
    byte_fallback: bool,
}

impl fmt::Debug for Unigram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unigram")
            .field("pieces", &self.texts.len())
            .finish_non_exhaustive()
    }
}

impl Unigram {
    pub(super) fn new(
        pieces: Pieces,
        unknown: Option<usize>,
        byte_fallback: bool,
    ) -> Result<Self, TokenizerError> {
        let (text, ends, scores) = pieces.into_parts();
        let texts = PieceTexts { text, ends };
        check_pieces(texts.all())?;
        if let Some(id) = unknown.filter(|&id| id >= texts.len()) {
            let pieces = texts.len();
            return out_of_bounds("model", format!("has unk_id {id}, and {pieces} pieces"));
        }
        let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(Self {
            trie: Trie::new(&texts),
            texts,
            scores,
            unknown: unknown.map(|id| id as u32),
            unknown_score: least - UNKNOWN_PENALTY,
            byte_fallback,
        })
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.trie.get(token)
    }

    pub(super) fn token(&self, id: u32) -> Option<&str> {
        self.texts.get(id as usize)
    }

    /// Pieces that are there twice count twice.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn all<C: FromIterator<(String, u32)>>(&self) -> C {
        let all = self.texts.all().zip(0..);
        all.map(|(piece, id)| (piece.to_owned(), id)).collect()
    }

    fn known_unknown(&self) -> Result<u32, tokenizers::Error> {
        self.unknown
            .ok_or_else(|| "a text has a character without a piece, and there is no unk_id".into())
    }

    /// Where the pieces of a word end, in bytes. Neighbours that are unknown are one piece.
    fn ends(&self, word: &str) -> Result<Vec<usize>, tokenizers::Error> {
        let none = Best {
            score: 0.0,
            piece: NONE,
            len: 0,
        };
        let mut best = vec![none; word.len() + 1];
        for (start, c) in word.char_indices() {
            let before = best[start].score;
            let mut offer = |len: usize, piece: u32, score: f64| {
                let (end, score) = (&mut best[start + len], score + before);
                // Of equal ones the first stays.
                let better = end.len == 0 || score > end.score;
                if better {
                    let len = len as u32;
                    *end = Best { score, piece, len };
                }
                better
            };
            let mut single = false;
            for (len, piece) in self.trie.prefixes(&word.as_bytes()[start..]) {
                offer(len, piece, self.scores[piece as usize]);
                single |= len == c.len_utf8();
            }
            let unknown = self.unknown.unwrap_or(NONE);
            if !single && offer(c.len_utf8(), unknown, self.unknown_score) {
                self.known_unknown()?;
            }
        }
        let mut ends = Vec::new();
        let (mut at, mut unknown) = (word.len(), false);
        while at > 0 {
            let Best { piece, len, .. } = best[at];
            let is_unknown = Some(piece) == self.unknown;
            if !(is_unknown && unknown) {
                ends.push(at);
            }
            unknown = is_unknown;
            at -= len as usize;
        }
        ends.reverse();
        Ok(ends)
    }

    pub(super) fn tokenize(&self, word: &str) -> Result<Vec<Token>, tokenizers::Error> {
        let ends = self.ends(word)?;
        let mut tokens = Vec::with_capacity(ends.len());
        let mut start = 0;
        for end in ends {
            let (text, offsets) = (&word[start..end], (start, end));
            start = end;
            if let Some(id) = self.id(text) {
                tokens.push(Token::new(id, text.to_owned(), offsets));
                continue;
            }
            let of_byte = |byte| {
                let piece = format!("<0x{byte:02X}>");
                Some(Token::new(self.id(&piece)?, piece, offsets))
            };
            let bytes = self.byte_fallback.then(|| text.bytes().map(of_byte));
            match bytes.and_then(Iterator::collect::<Option<Vec<Token>>>) {
                Some(bytes) => tokens.extend(bytes),
                None => tokens.push(Token::new(self.known_unknown()?, text.to_owned(), offsets)),
            }
        }
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Fields, Vocabulary};
    use proptest::prelude::*;
    use serde_json::json;
    use tokenizers::Model;
    use tokenizers::models::unigram::Unigram;

    proptest! {
        /// Pieces over an alphabet of four, so that a word can be divided in many ways, some of them there twice, with scores
        /// of which many sums are equal.
        #[test]
        fn any_pieces_give_the_tokens_of_the_crate(
            pieces in prop::collection::vec(("[abé🦀]{0,6}|<0x[0-9A-F]{2}>", -6..6_i32), 1..60),
            unknown in any::<Option<prop::sample::Index>>(),
            byte_fallback: bool,
            fine: bool,
            mut words in prop::collection::vec("[abcé🦀]{0,40}", 8),
        ) {
            let score = |n: i32| f64::from(n) * if fine { 0.1 } else { 0.5 };
            let mut vocab: Vec<(String, f64)> = pieces.iter().map(|(p, n)| (p.clone(), score(*n))).collect();
            if byte_fallback {
                vocab.extend((0..=255_u8).step_by(2).chain([0xc3, 0xa9]).map(|byte| (format!("<0x{byte:02X}>"), -9.0)));
            }
            let unknown = unknown.map(|at| at.index(pieces.len()));
            let crates = Unigram::from(vocab.clone(), unknown, byte_fallback).unwrap();
            let json = json!({"type": "Unigram", "vocab": vocab, "unk_id": unknown, "byte_fallback": byte_fallback});
            let fields: Fields = serde_json::from_str(&json.to_string()).unwrap();
            let ours = Vocabulary::new(fields).unwrap();
            words.extend(vocab.iter().map(|(piece, _)| piece.clone()));
            for word in &words {
                match (ours.tokenize(word), crates.tokenize(word)) {
                    (Ok(ours), Ok(crates)) => prop_assert_eq!(ours, crates, "{:?} by {}", word, json),
                    (ours, crates) => prop_assert!(ours.is_err() && crates.is_err(), "{:?} by {}", word, json),
                }
                prop_assert_eq!(ours.token_to_id(word), crates.token_to_id(word));
            }
            prop_assert_eq!(ours.get_vocab(), crates.get_vocab());
            prop_assert_eq!(ours.get_vocab_size(), crates.get_vocab_size());
            for id in 0..=vocab.len() as u32 {
                prop_assert_eq!(ours.id_to_token(id), crates.id_to_token(id));
            }
        }
    }

    #[test]
    fn scores_at_the_ends_of_f64_give_the_tokens_of_the_crate() {
        let vocab = json!([
            ["<unk>", 0.0],
            ["a", 1e308],
            ["aa", -1e308],
            ["aaa", 1e308],
            ["b", 0.0]
        ]);
        let json = json!({"type": "Unigram", "vocab": vocab, "unk_id": 0, "byte_fallback": false});
        let crates: Unigram = serde_json::from_str(&json.to_string()).unwrap();
        let ours = Vocabulary::new(serde_json::from_str(&json.to_string()).unwrap()).unwrap();
        let word = format!("{}b{}", "a".repeat(50), "a".repeat(7));
        assert_eq!(
            ours.tokenize(&word).unwrap(),
            crates.tokenize(&word).unwrap()
        );
    }

    #[test]
    fn what_is_not_a_unigram_is_refused_by_its_reason() {
        for (vocab, unknown, reason) in [
            (json!([]), json!(0), "its model has unk_id 0, and 0 pieces"),
            (
                json!([["a", 0]]),
                json!(1),
                "its model has unk_id 1, and 1 pieces",
            ),
            (json!([["a"]]), json!(0), "expected a piece and its score"),
            (json!(["a"]), json!(0), "a list of pieces and their scores"),
            (json!([["a", "b"]]), json!(0), "expected f64"),
            (json!({"a": 0}), json!(0), "`vocab` isn't a list of pieces"),
        ] {
            let json = json!({"type": "Unigram", "vocab": vocab, "unk_id": unknown}).to_string();
            let fields = serde_json::from_str::<Fields>(&json).map_err(|e| e.to_string());
            let found =
                fields.and_then(|fields| Vocabulary::new(fields).map_err(|e| e.to_string()));
            let found = found.expect_err("no model");
            assert!(found.contains(reason), "{found}");
        }
    }
}
