//! Tagging: what the tokens of a text are, and the names and other entities that they make up, with the semantics of
//! transformers' token-classification pipeline.

use crate::batch::{Batch, groups};
use crate::encoder::Rows;
use crate::error::Error;
use crate::model::Model;
use crate::session::Session;
use crate::tasks::input::{Text, Words};
use crate::tasks::scores::{argmax, softmax};
use crate::tasks::{Task, need_head};
use rq_format::Head;
use rq_tokenizer::characters::Characters;
use rq_tokenizer::{Tokenizer, Tokens};
use std::borrow::BorrowMut;
use std::ops::Range;

/// How tokens make up entities.
///
/// Labels may begin with `B-`, where an entity begins, and `I-`, where it goes on. Neighbours of the same label are one
/// entity, unless the second begins one. What a word is depends on the tokenizer: where the vocabulary marks the tokens that
/// go on with a word (BERT), those belong to it; else (RoBERTa, XLM-RoBERTa, CamemBERT) words are divided by spaces, so that
/// punctuation is a part of the word that it touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Aggregation {
    /// Not at all: each token is an answer.
    None,
    /// Each token has its own label, even inside a word.
    #[default]
    Simple,
    /// A word has the label of its first token.
    First,
    /// A word has the label that is the most probable on the average of its tokens.
    Average,
    /// A word has the label of its token that is the surest.
    Max,
}

/// What to answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TagOptions {
    /// How tokens make up entities; [`Aggregation::Simple`] by default.
    pub aggregation: Aggregation,
    /// How a text is read that is longer than the model takes: in windows that overlap.
    ///
    /// By default they overlap by a quarter, the label of a token is taken from the window in which it stands farther from
    /// the edge, and then the entities of the whole text are made up. With a number of tokens they overlap by so many, and
    /// entities are made up in each window; of those that overlap, the longest is taken, and of equally long ones the one
    /// with the highest score. That is what transformers does with its `stride`, without which it cuts the text.
    pub stride: Option<usize>,
    /// Labels that aren't answered: of tokens the whole label, of entities the part behind `B-` or `I-`. By default "O", which is
    /// no entity's; with none, every token is a part of an answer.
    pub ignore_labels: Vec<String>,
}

impl Default for TagOptions {
    fn default() -> Self {
        Self {
            aggregation: Aggregation::default(),
            stride: None,
            ignore_labels: vec!["O".to_owned()],
        }
    }
}

/// An entity, or a token without aggregation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entity {
    /// What it is: of a token the model's label, of an entity the part of it behind the first `-`.
    pub label: String,
    /// The mean of the probabilities of its tokens' labels, or its words'.
    pub score: f32,
    /// The token's place in the whole text's tokens, the special one before them included; without aggregation only.
    pub index: Option<usize>,
    /// What the vocabulary makes of its tokens: in lower case if the model is, and with a space before it for many. A token's
    /// is as the vocabulary writes it ("Ġgarden"). What stands in the text is `&text[entity.bytes]`.
    pub word: String,
    /// Its bytes in the text.
    pub bytes: Range<usize>,
    /// Its characters (code points) in the text, which is what transformers counts.
    pub characters: Range<usize>,
}

/// Tagging with a model that has the head for it.
///
/// ```no_run
/// use rq::{Model, Session, SessionOptions, TagOptions, Tagger, Task};
///
/// let session = Session::new(Model::open("names.rq")?, &SessionOptions::default())?;
/// let text = "Anna Smith lives in New York.";
/// for entity in Tagger::new(session)?.run_one(text, &TagOptions::default())? {
///     println!("{} {} {:.3}", entity.label, &text[entity.bytes], entity.score);
/// }
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Debug)]
pub struct Tagger<S = Session> {
    session: S,
}

impl<S: BorrowMut<Session>> Tagger<S> {
    /// The task of the session's model.
    ///
    /// # Errors
    /// When the model isn't a classifier of tokens.
    pub fn new(session: S) -> Result<Self, Error> {
        need_head("tagging", Head::TokenClassification, session.borrow())?;
        Ok(Self { session })
    }

    /// The labels of tokens, in the order of the model's outputs.
    pub fn labels(&self) -> &[String] {
        &self.model().config().labels
    }
}

/// A text, as tokens in windows that fit the model.
#[derive(Clone, Debug)]
pub struct PreparedTag {
    text: String,
    windows: Vec<Window>,
    /// The tokens that make up entities together: the whole text's, or each window's.
    runs: Vec<Vec<Piece>>,
}

/// What is computed as one sequence.
#[derive(Clone, Debug)]
struct Window {
    ids: Vec<u32>,
    token_types: Vec<u32>,
    /// Those of its tokens whose labels are wanted.
    rows: Vec<usize>,
}

/// A token of the text.
#[derive(Clone, Debug)]
struct Piece {
    id: u32,
    index: usize,
    characters: Range<usize>,
    bytes: Range<usize>,
    /// Whether it goes on with the word of the token before it.
    subword: bool,
    /// Whether it stands for what the vocabulary can't spell.
    unknown: bool,
}

impl PreparedTag {
    fn new(model: &Model, text: &str, stride: Option<usize>) -> Result<Self, Error> {
        let tokenizer = model.tokenizer();
        let limit = tokenizer.max_tokens();
        let used = tokenizer.added_tokens(false);
        let room = limit.saturating_sub(used);
        let overlap = stride.unwrap_or(room / 4);
        // Of a stride that can't be, every text is told, and not the long ones only.
        if stride.is_some() && overlap >= room {
            return Err(Error::NoRoom {
                limit,
                used,
                overlap,
            });
        }
        let windows = tokenizer.windows(None, text, limit, overlap)?;
        let place = Places::new(model, text);
        let mut tagged = Self {
            text: text.to_owned(),
            windows: Vec::with_capacity(windows.len()),
            runs: Vec::new(),
        };
        let last = windows.len() - 1;
        for (number, tokens) in windows.into_iter().enumerate() {
            let rows = match stride {
                // Of the tokens that two windows share, each answers for its own half.
                None => own_rows(&tokens, overlap, (number, last)),
                Some(_) => own_rows(&tokens, 0, (number, last)),
            };
            let before = number * (room - overlap);
            let pieces = rows.iter().map(|&row| place.piece(&tokens, row, before));
            match tagged.runs.last_mut() {
                Some(run) if stride.is_none() => run.extend(pieces),
                _ => tagged.runs.push(pieces.collect()),
            }
            tagged.windows.push(Window {
                ids: tokens.ids,
                token_types: tokens.token_types,
                rows,
            });
        }
        Ok(tagged)
    }

    /// A token, as the vocabulary writes it.
    fn word(&self, tokenizer: &Tokenizer, piece: &Piece) -> String {
        match piece.unknown {
            true => self.text[piece.bytes.clone()].to_owned(),
            false => tokenizer.id_to_token(piece.id).unwrap_or_default(),
        }
    }
}

/// The text's tokens in a window for which it answers: but for its halves of the `overlap` with the windows before and behind it.
fn own_rows(tokens: &Tokens, overlap: usize, (number, last): (usize, usize)) -> Vec<usize> {
    let rows: Vec<usize> = (0..tokens.ids.len())
        .filter(|&row| !tokens.special[row])
        .collect();
    let shared = |with_one: bool| if with_one { overlap } else { 0 };
    let end = rows.len() - shared(number < last).div_ceil(2);
    rows[shared(number > 0) / 2..end].to_vec()
}

/// The probabilities of the labels of each token whose label is wanted, one after the other.
fn probabilities<'w>(
    session: &mut Session,
    windows: impl Iterator<Item = &'w Window>,
) -> Result<Vec<f32>, Error> {
    // Of an empty text, around which the tokenizer puts nothing, nothing is computed.
    let windows: Vec<&Window> = windows.filter(|window| !window.rows.is_empty()).collect();
    let outputs = session.model().config().outputs();
    let mut scores: Vec<f32> = Vec::new();
    for group in groups(windows.iter().map(|window| window.ids.len())) {
        let (mut batch, mut rows) = (Batch::new(), Vec::new());
        for window in &windows[group] {
            let start = batch.ids().len();
            batch.push_with_types(&window.ids, &window.token_types)?;
            rows.extend(window.rows.iter().map(|row| start + row));
        }
        let logits = session.logits(&batch, Rows::Only(&rows))?;
        scores.extend(logits.chunks_exact(outputs).flat_map(softmax));
    }
    Ok(scores)
}

/// Where tokens stand in a text.
struct Places<'a> {
    tokenizer: &'a Tokenizer,
    unk_token_id: Option<u32>,
    text: &'a str,
    characters: Characters,
}

impl<'a> Places<'a> {
    fn new(model: &'a Model, text: &'a str) -> Self {
        Self {
            tokenizer: model.tokenizer(),
            unk_token_id: model.config().unk_token_id,
            text,
            characters: Characters::new(text),
        }
    }

    /// A token of a window that begins behind so many tokens.
    fn piece(&self, tokens: &Tokens, row: usize, before: usize) -> Piece {
        let (id, (start, end)) = (tokens.ids[row], tokens.offsets[row]);
        let characters = self.characters.within(start, end);
        let unknown = Some(id) == self.unk_token_id;
        Piece {
            id,
            index: before + row,
            bytes: self.characters.bytes(start, end),
            subword: !unknown && self.is_subword(id, &characters),
            characters,
            unknown,
        }
    }

    /// As transformers guesses it.
    fn is_subword(&self, id: u32, chars: &Range<usize>) -> bool {
        if self.tokenizer.marks_continuations() {
            let token = self.tokenizer.id_to_token(id).unwrap_or_default();
            return token.chars().count() != chars.len();
        }
        let start = chars.start;
        let is_space = |at: usize| self.text[self.characters.bytes(at, at + 1)] == *" ";
        start > 0 && !is_space(start - 1) && !is_space(start)
    }
}

/// A token or a word, and what it is.
struct Tagged {
    label: usize,
    score: f32,
    /// Which tokens of the run.
    pieces: Range<usize>,
}

/// The answer: entities in the order of the text. None is answered twice.
impl<S: BorrowMut<Session>> Task for Tagger<S> {
    type Input<'t> = Text<'t>;
    type Options = TagOptions;
    type Prepared = PreparedTag;
    type Answer = Vec<Entity>;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare<'t>(
        &self,
        text: impl Into<Text<'t>>,
        options: &TagOptions,
    ) -> Result<PreparedTag, Error> {
        if options.aggregation == Aggregation::None && options.stride.is_some() {
            return Err(Error::StrideOfTokens);
        }
        PreparedTag::new(self.model(), &text.into(), options.stride)
    }

    fn compute(
        &mut self,
        texts: &[PreparedTag],
        options: &TagOptions,
    ) -> Result<Vec<Vec<Entity>>, Error> {
        let windows = texts.iter().flat_map(|text| &text.windows);
        let scores = probabilities(self.session.borrow_mut(), windows)?;
        self.answers(texts, &scores, options)
    }
}

/// A word's label.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WordTag {
    /// The model's label of the word's first token.
    pub label: String,
    /// Its probability.
    pub score: f32,
}

/// Tagging of texts that are divided into words already, with one label for each word: that of its first token, as in
/// transformers' examples of token classification. A long text is read in windows that overlap by a quarter, as [`Tagger`] does.
///
/// ```no_run
/// use rq::{Model, Session, SessionOptions, Task, WordTagger};
///
/// let session = Session::new(Model::open("names.rq")?, &SessionOptions::default())?;
/// let words = ["Anna", "Smith", "lives", "in", "York", "."];
/// let tags = WordTagger::new(session)?.run_one(&words, &())?;
/// for (word, tag) in words.iter().zip(tags) {
///     println!("{word} {}", tag.map_or("-".to_owned(), |tag| tag.label));
/// }
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Debug)]
pub struct WordTagger<S = Session> {
    session: S,
}

impl<S: BorrowMut<Session>> WordTagger<S> {
    /// The task of the session's model.
    ///
    /// # Errors
    /// When the model isn't a classifier of tokens, or its tokenizer has other tokens for a word that stands alone than for one in a
    /// text.
    pub fn new(session: S) -> Result<Self, Error> {
        need_head("tagging", Head::TokenClassification, session.borrow())?;
        let tokenizer = session.borrow().model().tokenizer();
        match tokenizer.takes_single_words()? {
            true => Ok(Self { session }),
            false => Err(Error::NoPrefixSpace),
        }
    }
}

/// Words, as tokens in windows that fit the model.
#[derive(Clone, Debug)]
pub struct PreparedWords {
    windows: Vec<Window>,
    /// The word of each token whose label is wanted.
    words: Vec<usize>,
    /// How many words there are.
    count: usize,
}

/// The answer: for each word a tag, or nothing for a word of which the tokenizer makes no token.
impl<S: BorrowMut<Session>> Task for WordTagger<S> {
    type Input<'t> = Words<'t>;
    type Options = ();
    type Prepared = PreparedWords;
    type Answer = Vec<Option<WordTag>>;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare<'t>(&self, words: impl Into<Words<'t>>, (): &()) -> Result<PreparedWords, Error> {
        let words = words.into();
        let tokenizer = self.model().tokenizer();
        let limit = tokenizer.max_tokens();
        let overlap = limit.saturating_sub(tokenizer.added_tokens(false)) / 4;
        let windows = tokenizer.windows_of_words(&words, limit, overlap)?;
        let mut prepared = PreparedWords {
            windows: Vec::with_capacity(windows.len()),
            words: Vec::new(),
            count: words.len(),
        };
        let last = windows.len() - 1;
        for (number, tokens) in windows.into_iter().enumerate() {
            let mut rows = own_rows(&tokens, overlap, (number, last));
            // The first token of each word.
            rows.retain(|&row| {
                let word = tokens.words[row].map(|word| word as usize);
                let begins = word.is_some() && word.as_ref() != prepared.words.last();
                prepared.words.extend(word.filter(|_| begins));
                begins
            });
            prepared.windows.push(Window {
                ids: tokens.ids,
                token_types: tokens.token_types,
                rows,
            });
        }
        Ok(prepared)
    }

    fn compute(
        &mut self,
        texts: &[PreparedWords],
        (): &(),
    ) -> Result<Vec<Vec<Option<WordTag>>>, Error> {
        let windows = texts.iter().flat_map(|text| &text.windows);
        let scores = probabilities(self.session.borrow_mut(), windows)?;
        let labels = &self.model().config().labels;
        let mut scores = scores.chunks_exact(labels.len());
        let answer = |text: &PreparedWords| {
            let mut tags = vec![None; text.count];
            for (&word, scores) in text.words.iter().zip(scores.by_ref()) {
                let label = argmax(scores);
                tags[word] = Some(WordTag {
                    label: labels[label].clone(),
                    score: scores[label],
                });
            }
            tags
        };
        Ok(texts.iter().map(answer).collect())
    }
}

impl<S: BorrowMut<Session>> Tagger<S> {
    /// The answers, by the probabilities of the labels of each token whose label is wanted.
    fn answers(
        &self,
        texts: &[PreparedTag],
        scores: &[f32],
        options: &TagOptions,
    ) -> Result<Vec<Vec<Entity>>, Error> {
        let mut scores = scores.chunks_exact(self.model().config().outputs());
        let mut answers = Vec::with_capacity(texts.len());
        for text in texts {
            let mut entities = Vec::new();
            for run in &text.runs {
                let scores: Vec<&[f32]> = scores.by_ref().take(run.len()).collect();
                self.entities(text, run, &scores, options, &mut entities)?;
            }
            answers.push(match text.runs.len() {
                1 => entities,
                _ => longest(entities),
            });
        }
        Ok(answers)
    }

    /// Appends the entities that tokens make up.
    fn entities(
        &self,
        text: &PreparedTag,
        run: &[Piece],
        scores: &[&[f32]],
        options: &TagOptions,
        entities: &mut Vec<Entity>,
    ) -> Result<(), Error> {
        let (tokenizer, labels) = (self.model().tokenizer(), self.labels());
        let whole = |range: &Range<usize>| {
            let (first, last) = (&run[range.start], &run[range.end - 1]);
            let end = last.bytes.end.max(first.bytes.start);
            (first, last, first.bytes.start..end)
        };
        let ignored = |label: &str| options.ignore_labels.iter().any(|l| l == label);
        let tagged = tagged(run, scores, options.aggregation);

        if options.aggregation == Aggregation::None {
            for token in tagged.iter().filter(|token| !ignored(&labels[token.label])) {
                let (piece, _, bytes) = whole(&token.pieces);
                entities.push(Entity {
                    label: labels[token.label].clone(),
                    score: token.score,
                    index: Some(piece.index),
                    word: text.word(tokenizer, piece),
                    bytes,
                    characters: piece.characters.clone(),
                });
            }
            return Ok(());
        }

        let goes_on = |before: &Tagged, tagged: &Tagged| {
            let (begins, kind) = kind(&labels[tagged.label]);
            !begins && kind == self::kind(&labels[before.label]).1
        };
        for group in tagged.chunk_by(goes_on) {
            let label = &labels[group[0].label];
            let label = label.split_once('-').map_or(&**label, |(_, rest)| rest);
            if ignored(label) {
                continue;
            }
            let words = group.iter().map(|tagged| {
                let tokens = &run[tagged.pieces.clone()];
                let mut tokens: Vec<String> =
                    tokens.iter().map(|p| text.word(tokenizer, p)).collect();
                match options.aggregation {
                    Aggregation::Simple => Ok(tokens.swap_remove(0)),
                    _ => tokenizer.join(tokens),
                }
            });
            let word = tokenizer.join(words.collect::<Result<_, _>>()?)?;
            let (first, last, bytes) =
                whole(&(group[0].pieces.start..group[group.len() - 1].pieces.end));
            entities.push(Entity {
                label: label.to_owned(),
                score: mean(group.iter().map(|tagged| tagged.score)),
                index: None,
                word,
                bytes,
                characters: first.characters.start..last.characters.end,
            });
        }
        Ok(())
    }
}

/// What the tokens are, or the words.
fn tagged(run: &[Piece], scores: &[&[f32]], aggregation: Aggregation) -> Vec<Tagged> {
    let in_words = !matches!(aggregation, Aggregation::None | Aggregation::Simple);
    let mut start = 0;
    let words = run.chunk_by(|_, piece| in_words && piece.subword);
    let tagged = words.map(|word| {
        let pieces = start..start + word.len();
        start = pieces.end;
        let scores = &scores[pieces.clone()];
        let average: Vec<f32>;
        let scores = match aggregation {
            Aggregation::Max => {
                let largest = |scores: &&[f32]| scores[argmax(scores)];
                scores[argmax(&scores.iter().map(largest).collect::<Vec<_>>())]
            }
            Aggregation::Average if scores.len() > 1 => {
                let of_label = |label| mean(scores.iter().map(|scores| scores[label]));
                average = (0..scores[0].len()).map(of_label).collect();
                &average
            }
            _ => scores[0],
        };
        let label = argmax(scores);
        Tagged {
            label,
            score: scores[label],
            pieces,
        }
    });
    tagged.collect()
}

/// Whether a label is for the beginning of an entity, and of what kind it is.
fn kind(label: &str) -> (bool, &str) {
    match label.strip_prefix("B-") {
        Some(kind) => (true, kind),
        None => (false, label.strip_prefix("I-").unwrap_or(label)),
    }
}

fn mean(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let count = values.len() as f64;
    (values.map(f64::from).sum::<f64>() / count) as f32
}

/// Of entities that overlap, the longest, as transformers chooses them: the first of each chain decides what overlaps.
fn longest(mut entities: Vec<Entity>) -> Vec<Entity> {
    entities.sort_by_key(|entity| entity.characters.start);
    let mut chosen: Vec<Entity> = Vec::new();
    for entity in entities {
        match chosen.last_mut() {
            Some(last) if entity.characters.start < last.characters.end => {
                let length = |entity: &Entity| entity.characters.len();
                let (this, that) = (length(&entity), length(last));
                if this > that || (this == that && entity.score > last.score) {
                    *last = entity;
                }
            }
            _ => chosen.push(entity),
        }
    }
    chosen
}

#[cfg(test)]
mod tests;
