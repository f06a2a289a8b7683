//! Question answering: the spans of a context that answer a question, with the semantics of the question-answering pipeline
//! of transformers 4, the last that has it.
//!
//! The question and the context make a pair of texts. A context that is too long is read in windows that overlap, each with
//! the whole question before it. Of each window the best spans are kept, spans of the same text become one answer, and the
//! answers of all windows compete by their scores.

use crate::batch::{Batch, groups};
use crate::encoder::Rows;
use crate::error::Error;
use crate::session::Session;
use crate::tasks::input::Text;
use crate::tasks::scores::softmax_f64;
use crate::tasks::{Task, need_head, not_zero};
use rq_format::Head;
use rq_tokenizer::Tokens;
use rq_tokenizer::characters::Characters;
use std::borrow::BorrowMut;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

/// The largest window, in tokens, unless another is asked for.
const MAX_SEQ_LEN: usize = 384;
/// The largest overlap of windows, in tokens, unless another is asked for.
const DOC_STRIDE: usize = 128;

/// How to answer a question. The names and the defaults are those of transformers; its `max_question_len`, which it takes and
/// doesn't use, is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnswerOptions {
    /// How many answers, at most, from 1; 1 by default.
    pub top_k: usize,
    /// Tokens of an answer, at most, from 1; 15 by default.
    pub max_answer_len: usize,
    /// Tokens of a window, at most, with the question and the special tokens; by default what the model takes, and no more
    /// than 384.
    pub max_seq_len: Option<usize>,
    /// Tokens of the context that a window shares with the one before; by default half a window, and no more than 128.
    pub doc_stride: Option<usize>,
    /// Whether it may be an answer that the context has none; false by default.
    pub handle_impossible_answer: bool,
    /// Whether an answer is made of whole words, as the tokenizer divides the context; true by default.
    pub align_to_words: bool,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            top_k: 1,
            max_answer_len: 15,
            max_seq_len: None,
            doc_stride: None,
            handle_impossible_answer: false,
            align_to_words: true,
        }
    }
}

/// A question, and the text in which the answer is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question<'t> {
    /// The question.
    pub question: Text<'t>,
    /// Where the answer may be.
    pub context: Text<'t>,
}

impl<'t, Q: Into<Text<'t>>, C: Into<Text<'t>>> From<(Q, C)> for Question<'t> {
    fn from((question, context): (Q, C)) -> Self {
        Self {
            question: question.into(),
            context: context.into(),
        }
    }
}

/// An answer to a question.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The probability that the answer starts at its first token times that that it ends at its last; the sum of them, where
    /// several spans have the same text but for the case of its letters. Windows that overlap so count twice: a score can be
    /// above 1.
    pub score: f32,
    /// Its bytes in the context: `&context[answer.bytes]` is its text.
    pub bytes: Range<usize>,
    /// Its characters (code points) in the context, which is what transformers counts.
    pub characters: Range<usize>,
    /// The text; none if it is that the context has no answer.
    pub answer: String,
}

/// Question answering with a model that was trained for it.
///
/// ```no_run
/// use rq::{AnswerOptions, Answerer, Model, Session, SessionOptions, Task};
///
/// let model = Model::open("roberta-base-squad2.rq")?;
/// let session = Session::new(model, &SessionOptions::default())?;
/// let context = "The keys are under the red flowerpot.";
/// let question = ("Where are the keys?", context);
/// let answers = Answerer::new(session)?.run_one(question, &AnswerOptions::default())?;
/// println!("{:.3} {}", answers[0].score, answers[0].answer);
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Debug)]
pub struct Answerer<S = Session> {
    session: S,
}

impl<S: BorrowMut<Session>> Answerer<S> {
    /// The task of the session's model.
    ///
    /// # Errors
    /// When the model wasn't made for question answering.
    pub fn new(session: S) -> Result<Self, Error> {
        need_head(
            "question answering",
            Head::QuestionAnswering,
            session.borrow(),
        )?;
        Ok(Self { session })
    }
}

/// The answer: spans of the context by descending score, at most [`AnswerOptions::top_k`], and at least one.
impl<S: BorrowMut<Session>> Task for Answerer<S> {
    type Input<'t> = Question<'t>;
    type Options = AnswerOptions;
    type Prepared = PreparedAnswer;
    type Answer = Vec<Answer>;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare<'t>(
        &self,
        input: impl Into<Question<'t>>,
        options: &AnswerOptions,
    ) -> Result<PreparedAnswer, Error> {
        let Question { question, context } = input.into();
        if question.is_empty() {
            return Err(Error::EmptyQuestion);
        }
        let tokenizer = self.model().tokenizer();
        let limit = tokenizer.max_tokens();
        let max_seq_len = options.max_seq_len.unwrap_or(limit.min(MAX_SEQ_LEN));
        if max_seq_len > limit {
            return Err(Error::WindowTooLong { max_seq_len, limit });
        }
        let doc_stride = options
            .doc_stride
            .unwrap_or((max_seq_len / 2).min(DOC_STRIDE));
        let windows = tokenizer.windows(Some(&question), &context, max_seq_len, doc_stride)?;
        let of_context = |window: &Tokens| window.texts.contains(&Some(1));
        if !windows.iter().all(of_context) {
            return Err(Error::NoContext);
        }
        Ok(PreparedAnswer {
            context: context.to_string(),
            windows,
        })
    }

    fn compute(
        &mut self,
        questions: &[PreparedAnswer],
        options: &AnswerOptions,
    ) -> Result<Vec<Vec<Answer>>, Error> {
        not_zero("top_k", options.top_k)?;
        not_zero("max_answer_len", options.max_answer_len)?;
        let session = self.session.borrow_mut();
        let model = Arc::clone(session.model());
        let cls = model.config().bos_token_id;
        let mut found: Vec<Found<'_>> = questions.iter().map(Found::new).collect();
        let windows: Vec<(usize, &Tokens)> = (0..)
            .zip(questions)
            .flat_map(|(i, question)| question.windows.iter().map(move |window| (i, window)))
            .collect();
        for group in groups(windows.iter().map(|(_, window)| window.ids.len())) {
            let group = &windows[group];
            let mut batch = Batch::new();
            for (_, window) in group {
                batch.push_with_types(&window.ids, &window.token_types)?;
            }
            let logits = session.logits(&batch, Rows::All)?;
            for (rows, (i, window)) in batch.sequences().zip(group) {
                let logits = &logits[2 * rows.start..2 * rows.end];
                found[*i].take(window, &Probabilities::new(window, logits, cls), options);
            }
        }
        Ok(found.into_iter().map(|f| f.answers(options)).collect())
    }
}

/// A question and its context, as tokens in windows that fit the model.
#[derive(Clone, Debug)]
pub struct PreparedAnswer {
    context: String,
    windows: Vec<Tokens>,
}

/// Where in a window an answer may start and end.
struct Probabilities {
    start: Vec<f64>,
    end: Vec<f64>,
    /// Which tokens may: those of the context, and what is written as the first token is.
    open: Vec<bool>,
}

impl Probabilities {
    /// A softmax over the tokens that may, and the first one, which stands for no answer.
    fn new(window: &Tokens, logits: &[f32], cls: u32) -> Self {
        let texts = window.texts.iter().zip(&window.ids);
        let open: Vec<bool> = texts
            .map(|(&text, &id)| text == Some(1) || id == cls)
            .collect();
        let softmax = |which: usize| {
            let logits = logits.chunks_exact(2).zip(&open);
            softmax_f64(logits.map(|(pair, open)| match open {
                true => f64::from(pair[which]),
                false => f64::NEG_INFINITY,
            }))
        };
        Self {
            start: softmax(0),
            end: softmax(1),
            open,
        }
    }

    /// That there is no answer in this window.
    fn null(&self) -> f64 {
        self.start[0] * self.end[0]
    }

    /// The best spans, from token to token, by descending score; of equal ones, the one that starts first and ends first.
    fn best(&self, count: usize, max_answer_len: usize) -> Vec<(f64, usize, usize)> {
        let len = self.open.len();
        let mut spans = Vec::new();
        for start in (1..len).filter(|&i| self.open[i]) {
            let ends = start..len.min(start.saturating_add(max_answer_len));
            for end in ends.filter(|&i| self.open[i]) {
                spans.push((self.start[start] * self.end[end], start, end));
            }
        }
        let order = |a: &(f64, usize, usize), b: &(f64, usize, usize)| {
            b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)))
        };
        if count > 0 && count < spans.len() {
            spans.select_nth_unstable_by(count - 1, order);
        }
        spans.truncate(count);
        spans.sort_unstable_by(order);
        spans
    }
}

/// What was found so far of the answers to a question.
struct Found<'a> {
    context: &'a str,
    characters: Characters,
    /// Score, start and end in characters: in the order in which they were found.
    answers: Vec<(f64, usize, usize)>,
    /// Which of them has this text, in lower case.
    by_text: HashMap<String, usize>,
    /// The least probability, over the windows, that there is no answer.
    null: f64,
}

impl<'a> Found<'a> {
    fn new(question: &'a PreparedAnswer) -> Self {
        let context = question.context.as_str();
        Self {
            context,
            characters: Characters::new(context),
            answers: Vec::new(),
            by_text: HashMap::new(),
            null: f64::INFINITY,
        }
    }

    /// Adds the best spans of a window.
    fn take(&mut self, window: &Tokens, probabilities: &Probabilities, options: &AnswerOptions) {
        self.null = self.null.min(probabilities.null());
        // Several spans can become the same words.
        let count = match options.align_to_words {
            true => options.top_k.saturating_mul(2).saturating_add(10),
            false => options.top_k,
        };
        for (score, first, last) in probabilities.best(count, options.max_answer_len) {
            let words = || Some((of_word(window, first)?.0, of_word(window, last)?.1));
            let aligned = options.align_to_words.then(words).flatten();
            let (start, end) = aligned.unwrap_or((window.offsets[first].0, window.offsets[last].1));
            let text = self.context[self.characters.bytes(start, end)].to_lowercase();
            match self.by_text.entry(text) {
                Entry::Occupied(same) => self.answers[*same.get()].0 += score,
                Entry::Vacant(new) => {
                    new.insert(self.answers.len());
                    self.answers.push((score, start, end));
                }
            }
        }
    }

    fn answers(mut self, options: &AnswerOptions) -> Vec<Answer> {
        if options.handle_impossible_answer {
            self.answers.push((self.null, 0, 0));
        }
        let mut answers = std::mem::take(&mut self.answers);
        answers.sort_by(|a, b| b.0.total_cmp(&a.0));
        answers.truncate(options.top_k);
        let answer = |(score, start, end): (f64, usize, usize)| {
            let bytes = self.characters.bytes(start, end);
            Answer {
                score: score as f32,
                characters: start..end,
                answer: self.context[bytes.clone()].to_owned(),
                bytes,
            }
        };
        answers.into_iter().map(answer).collect()
    }
}

/// The characters of the context's word that has the number of a token's, as far as it is in the window; none where the token
/// is of no word. As in transformers, a token of the question stands for the word of its number in the context.
fn of_word(window: &Tokens, token: usize) -> Option<(usize, usize)> {
    let word = window.words[token]?;
    let in_context = |&i: &usize| window.texts[i] == Some(1) && window.words[i] == Some(word);
    let mut tokens = (0..window.ids.len()).filter(in_context);
    let first = tokens.next()?;
    let last = tokens.next_back().unwrap_or(first);
    Some((window.offsets[first].0, window.offsets[last].1))
}

#[cfg(test)]
mod against_transformers;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_order_and_no_longer_than_they_may_be() {
        let probabilities = Probabilities {
            start: vec![0.5, 0.2, 0.1, 0.1, 0.1],
            end: vec![0.5, 0.1, 0.1, 0.2, 0.1],
            open: vec![true, true, true, true, false],
        };
        let spans = |count, max_answer_len| -> Vec<(usize, usize)> {
            let best = probabilities.best(count, max_answer_len);
            best.into_iter()
                .map(|(_, start, end)| (start, end))
                .collect()
        };
        let all = [(1, 3), (1, 1), (1, 2), (2, 3), (3, 3), (2, 2)];
        assert_eq!(spans(9, 3), all);
        assert_eq!(spans(2, 9), all[..2]);
        assert_eq!(spans(9, 1), [(1, 1), (3, 3), (2, 2)]);
        assert_eq!(spans(0, 3), []);
        assert_eq!(spans(9, 0), []);
        assert_eq!(probabilities.null(), 0.25);
    }
}
