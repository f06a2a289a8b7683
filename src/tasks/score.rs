//! Scoring: how probable a masked language model finds a text, by its pseudo-log-likelihood.
//!
//! Each token is masked in turn, and the logarithm of its probability there is its score; the sum is that of the text (Salazar
//! et al. 2020, "Masked Language Model Scoring"). A token of a longer word is easily guessed from the rest of its word, which
//! makes rare words look probable: masking the later tokens of its word too corrects that (Kauf and Ivanova 2023, "A Better Way
//! to Do Masked Language Model Scoring").

use crate::batch::{Batch, groups_with_logits};
use crate::error::Error;
use crate::session::Session;
use crate::tasks::input::Text;
use crate::tasks::{Task, need_head};
use rq_format::Head;
use rq_tokenizer::Tokens;
use std::borrow::BorrowMut;
use std::sync::Arc;

/// What is masked to score a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScoreMethod {
    /// The token alone: Salazar et al. 2020.
    #[default]
    Original,
    /// Also the later tokens of its word, as the tokenizer divides the text into words: Kauf and Ivanova 2023.
    WithinWordL2r,
}

/// How to score a text.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ScoreOptions {
    /// What is masked to score a token; [`ScoreMethod::Original`] by default.
    pub method: ScoreMethod,
    /// Whether a text that is too long is cut at its end, and not refused; false by default.
    pub truncate: bool,
}

/// How probable the model finds a token.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenScore {
    /// The token's id.
    pub token: u32,
    /// The token's text, with the space before it if it has one.
    pub token_str: String,
    /// The natural logarithm of its probability over the whole vocabulary.
    pub log_probability: f64,
}

/// How probable the model finds a text.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Score {
    /// The pseudo-log-likelihood in nats: the sum over the tokens.
    pub total: f64,
    /// All tokens but those that are put around a text.
    pub tokens: Vec<TokenScore>,
}

impl Score {
    /// `exp(-total / tokens)`; none for a text without tokens.
    pub fn pseudo_perplexity(&self) -> Option<f64> {
        let count = self.tokens.len();
        (count > 0).then(|| libm::exp(-self.total / count as f64))
    }
}

/// Scores texts with a masked language model.
///
/// ```
/// # #[cfg(feature = "demo-model")] {
/// use rq::{Model, ScoreOptions, Scorer, Session, SessionOptions, Task};
///
/// let session = Session::new(Model::demo()?, &SessionOptions::default())?;
/// let texts = ["He walked to the house.", "He walked house the to."];
/// let scores = Scorer::new(session)?.run(texts, &ScoreOptions::default())?;
/// assert!(scores[0].total > scores[1].total);
/// # }
/// # Ok::<(), rq::Error>(())
/// ```
#[derive(Debug)]
pub struct Scorer<S = Session> {
    session: S,
}

impl<S: BorrowMut<Session>> Scorer<S> {
    /// The task of the session's model.
    ///
    /// # Errors
    /// When the model isn't a masked language model.
    pub fn new(session: S) -> Result<Self, Error> {
        need_head("scoring", Head::MaskedLm, session.borrow())?;
        Ok(Self { session })
    }
}

/// A text of n tokens takes n passes over it. An empty text has the score 0.
impl<S: BorrowMut<Session>> Task for Scorer<S> {
    type Input<'t> = Text<'t>;
    type Options = ScoreOptions;
    type Prepared = PreparedScore;
    type Answer = Score;

    fn session(&self) -> &Session {
        self.session.borrow()
    }

    fn prepare<'t>(
        &self,
        text: impl Into<Text<'t>>,
        options: &ScoreOptions,
    ) -> Result<PreparedScore, Error> {
        let tokenizer = self.model().tokenizer();
        let tokens = tokenizer.tokens_within(&text.into(), options.truncate)?;
        Ok(PreparedScore { tokens })
    }

    fn compute(
        &mut self,
        texts: &[PreparedScore],
        options: &ScoreOptions,
    ) -> Result<Vec<Score>, Error> {
        let session = self.session.borrow_mut();
        let model = Arc::clone(session.model());
        let tokenizer = model.tokenizer();
        let config = model.config();
        let mask = config
            .mask_token_id
            .expect("a masked language model has it");
        // What is masked isn't among the tokens that the session checks.
        let vocab_size = config.vocab_size;
        let mut ids = texts.iter().flat_map(|text| &text.tokens.ids);
        if let Some(&token) = ids.find(|&&id| id as usize >= vocab_size) {
            return Err(Error::TokenRange { token, vocab_size });
        }
        let copies: Vec<(&Tokens, usize)> = texts
            .iter()
            .flat_map(|text| text.positions().map(|at| (&text.tokens, at)))
            .collect();
        let mut scores = Vec::with_capacity(copies.len());
        for group in groups_with_logits(copies.iter().map(|(tokens, _)| tokens.ids.len())) {
            let group = &copies[group];
            let batch: Batch = group
                .iter()
                .map(|&(tokens, at)| masked(tokens, at, mask, options.method))
                .collect();
            let sequences = batch.sequences().zip(group);
            let rows: Vec<usize> = sequences.map(|(rows, (_, at))| rows.start + at).collect();
            let mut wanted = group.iter().map(|&(tokens, at)| tokens.ids[at] as usize);
            session.each_logits(&batch, &rows, |logits| {
                let token = wanted.next().expect("a token for each row");
                scores.push(log_probability(logits, token, log_sum_exp(logits)));
            })?;
        }
        let mut scores = scores.into_iter();
        let score = |text: &PreparedScore| {
            let tokens = text.positions().zip(&mut scores);
            let tokens = tokens.map(|(at, log_probability)| {
                let token = text.tokens.ids[at];
                Ok(TokenScore {
                    token,
                    token_str: tokenizer.decode(&[token], false)?,
                    log_probability,
                })
            });
            let tokens: Vec<TokenScore> = tokens.collect::<Result<_, Error>>()?;
            let total = tokens.iter().fold(0.0, |sum, t| sum + t.log_probability);
            Ok(Score { total, tokens })
        };
        texts.iter().map(score).collect()
    }
}

/// A text to score, as tokens that fit the model.
#[derive(Clone, Debug)]
pub struct PreparedScore {
    tokens: Tokens,
}

impl PreparedScore {
    /// Where its own tokens are.
    fn positions(&self) -> impl Iterator<Item = usize> {
        let special = self.tokens.special.iter().enumerate();
        special.filter_map(|(i, &special)| (!special).then_some(i))
    }
}

/// The tokens with what is masked to score one of them.
fn masked(tokens: &Tokens, at: usize, mask: u32, method: ScoreMethod) -> Vec<u32> {
    let mut ids = tokens.ids.clone();
    ids[at] = mask;
    if method == ScoreMethod::WithinWordL2r && tokens.words[at].is_some() {
        let word = tokens.words[at];
        for (id, _) in ids[at..]
            .iter_mut()
            .zip(&tokens.words[at..])
            .filter(|(_, w)| **w == word)
        {
            *id = mask;
        }
    }
    ids
}

/// The logarithm of the sum of the exponentials: exact for logits of any size, and the same on every platform. The products'
/// own softmax is quicker, but there probabilities below e^-87 are none.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |max, x| max.max(*x));
    let max = f64::from(max);
    let sum = logits
        .iter()
        .fold(0.0, |sum, x| sum + libm::exp(f64::from(*x) - max));
    max + libm::log(sum)
}

/// The logarithm of a token's probability.
pub(crate) fn log_probability(logits: &[f32], token: usize, log_sum_exp: f64) -> f64 {
    f64::from(logits[token]) - log_sum_exp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_softmax_in_logarithms() {
        assert_eq!(log_sum_exp(&[7.0]), 7.0);
        assert!((log_sum_exp(&[0.0; 4]) - libm::log(4.0)).abs() < 1e-15);
        // Far beyond what exponentials of floats hold.
        let logits = [-400.0, 300.0, 300.0];
        let sum = log_sum_exp(&logits);
        assert!((log_probability(&logits, 0, sum) + 700.0 + libm::log(2.0)).abs() < 1e-9);
    }

    #[test]
    fn what_is_masked() {
        let tokens = Tokens {
            ids: vec![0, 10, 11, 12, 13, 2],
            words: vec![None, Some(0), Some(1), Some(1), Some(2), None],
            ..Tokens::default()
        };
        let masked = |at, method| masked(&tokens, at, 9, method);
        assert_eq!(masked(2, ScoreMethod::Original), [0, 10, 9, 12, 13, 2]);
        assert_eq!(masked(2, ScoreMethod::WithinWordL2r), [0, 10, 9, 9, 13, 2]);
        assert_eq!(masked(3, ScoreMethod::WithinWordL2r), [0, 10, 11, 9, 13, 2]);
    }
}
