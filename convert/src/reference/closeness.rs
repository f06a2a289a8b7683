//! How close a model is to the checkpoint that it was made of, on a text: of a masked language model on masked tokens of
//! it, of another head on what it says of the text or of its tokens.

use super::oracle::Reference;
use crate::checkpoint::{CheckpointError, Pretrained, masked, texts};
use rq_format::Head;

/// The most tokens of one text. Longer lines are cut.
const WINDOW: usize = 128;
/// About 15 % of the tokens are masked: two in thirteen.
const MASKED_ONE_IN: [u64; 2] = [13, 2];
/// The tokens whose order a person looks at.
const TOP: usize = 5;

/// A text, and where a model's logits are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskedText {
    /// The tokens, special ones and masks included.
    pub ids: Vec<u32>,
    /// Where the logits are compared, in ascending order. Of a masked language model that is at the masks, of which there
    /// is at least one; of a sequence classifier at the first token; of the others with a head at every token of the text.
    pub masks: Vec<usize>,
    /// The tokens that are masked.
    pub answers: Vec<u32>,
}

/// Texts to compare a model on. For a masked language model about 15 % of the tokens are masked, always the same ones. Each line is a text of its own; lines are taken from
/// all over the text, until there are `max_tokens`. There are none where most of the text is unknown to the tokenizer.
///
/// # Errors
/// When the model's tokenizer can't be used.
pub fn mask_texts(
    text: &str,
    model: &Pretrained,
    max_tokens: usize,
) -> Result<Vec<MaskedText>, CheckpointError> {
    let config = &model.config;
    let Some(texts) = texts(text, &model.tokenizer, config, WINDOW)? else {
        return Ok(Vec::new());
    };
    let all: usize = texts.iter().map(Vec::len).sum();
    let (mut kept, mut seen, mut count) = (Vec::new(), 0, 0);
    for (i, mut ids) in texts.into_iter().enumerate() {
        seen += ids.len();
        if count as u128 * all as u128 > seen as u128 * max_tokens.min(all) as u128 {
            continue;
        }
        if let Some(masks) = match config.head {
            Head::None => Some(0..0),
            Head::SequenceClassification => Some(0..1),
            Head::TokenClassification | Head::QuestionAnswering => Some(1..ids.len() - 1),
            _ => None,
        } {
            count += ids.len();
            kept.push(MaskedText {
                ids,
                masks: masks.collect(),
                answers: Vec::new(),
            });
            continue;
        }
        let Some(mask) = config.mask_token_id else {
            unreachable!("a masked language model has a mask");
        };
        let known = |id: u32| Some(id) != config.unk_token_id;
        let [of, chosen] = MASKED_ONE_IN;
        let masks: Vec<usize> = (1..ids.len() - 1)
            .filter(|&at| {
                known(ids[at]) && (0..chosen).any(|salt| masked(i, at << 1 | salt as usize, of))
            })
            .collect();
        if masks.is_empty() {
            continue;
        }
        count += ids.len();
        let answers = masks
            .iter()
            .map(|&at| std::mem::replace(&mut ids[at], mask))
            .collect();
        kept.push(MaskedText {
            ids,
            masks,
            answers,
        });
    }
    Ok(kept)
}

/// How close a model is to its checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Closeness {
    /// Texts.
    pub texts: usize,
    /// Their tokens.
    pub tokens: usize,
    /// The outputs over which the next figures are: the masked ones among them; of a classifier, a text or a token each;
    /// of a model for questions, the start and the end in each text.
    pub masks: usize,
    /// The share of them for which the best token, label or place is the checkpoint's; nothing without a head.
    pub top1_agreement: Option<f64>,
    /// The share of the checkpoint's five best that are among the model's.
    pub top5_agreement: Option<f64>,
    /// The mean Kullback-Leibler divergence from the checkpoint's probabilities to the model's, in nats.
    pub kl: Option<f64>,
    /// exp of the mean of -ln(probability of the masked token): the model's. Nothing without masks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// The checkpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_perplexity: Option<f64>,
    /// The mean cosine of the last hidden states with the checkpoint's, over all tokens.
    pub hidden_cosine_mean: f64,
    /// The median.
    pub hidden_cosine_median: f64,
    /// The worst.
    pub hidden_cosine_min: f64,
    /// The mean cosine of what sentence encoders make of a text: the mean of its tokens' hidden states.
    pub pooled_cosine_mean: f64,
}

/// What the checkpoint answers to some texts, in f32.
#[derive(Clone, Debug)]
pub struct Expected {
    width: usize,
    outputs: usize,
    head: Head,
    texts: Vec<MaskedText>,
    /// For each text, the hidden states of its tokens and the logits of its masks.
    answers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Expected {
    /// Computes the checkpoint's answers.
    ///
    /// # Panics
    /// When a token isn't in the vocabulary.
    pub fn new(reference: &Reference, texts: Vec<MaskedText>) -> Self {
        let config = reference.config();
        let answers = texts.iter().map(|text| reference.answer(text)).collect();
        Self {
            width: config.hidden_size,
            outputs: config.outputs(),
            head: config.head,
            texts,
            answers,
        }
    }

    /// Compares a model with its checkpoint. `run` computes the model: for some tokens and the places of the masks among
    /// them, the last hidden states of all tokens and the logits of the masks.
    ///
    /// # Errors
    /// Those of `run`.
    ///
    /// # Panics
    /// When `run` gives other sizes than the checkpoint's configuration implies.
    pub fn compare<E>(
        &self,
        mut run: impl FnMut(&MaskedText) -> Result<(Vec<f32>, Vec<f32>), E>,
    ) -> Result<Closeness, E> {
        let mut sums = Closeness {
            hidden_cosine_min: 1.0,
            ..Closeness::default()
        };
        let (mut top1, mut top5, mut kl) = (0.0, 0.0, 0.0);
        let (mut loss, mut reference_loss) = (0.0, 0.0);
        let (mut cosines, mut pooled) = (Vec::new(), 0.0);
        for (text, (exact, exact_logits)) in self.texts.iter().zip(&self.answers) {
            let (hidden, logits) = run(text)?;
            assert_eq!(hidden.len(), exact.len(), "hidden states of the model");
            assert_eq!(logits.len(), exact_logits.len(), "logits of the model");
            let rows = exact.chunks_exact(self.width);
            cosines.extend(
                rows.zip(hidden.chunks_exact(self.width))
                    .map(|(a, b)| cosine(a, b)),
            );
            let (right, found) = (self.choices(exact_logits), self.choices(&logits));
            for (i, (exact, found)) in right.iter().zip(&found).enumerate() {
                let (best, best_found) = (top(exact), top(found));
                top1 += f64::from(u8::from(best[0] == best_found[0]));
                let shared = best.iter().filter(|id| best_found.contains(id)).count();
                top5 += shared as f64 / best.len() as f64;
                let (p, q) = (log_softmax(exact), log_softmax(found));
                let terms = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q));
                kl += terms.sum::<f64>();
                if let Some(&answer) = text.answers.get(i) {
                    reference_loss -= p[answer as usize];
                    loss -= q[answer as usize];
                }
            }
            let [exact_sum, sum] = [exact, &hidden].map(|rows| sum_of_rows(rows, self.width));
            pooled += cosine(&exact_sum, &sum);
            sums.texts += 1;
            sums.tokens += text.ids.len();
            sums.masks += right.len();
        }
        let mean = |sum: f64| (sums.masks > 0).then(|| sum / sums.masks as f64);
        let perplexity = |loss| Some(mean(loss)?.exp()).filter(|_| self.head == Head::MaskedLm);
        cosines.sort_by(f64::total_cmp);
        Ok(Closeness {
            top1_agreement: mean(top1),
            top5_agreement: mean(top5),
            kl: mean(kl),
            perplexity: perplexity(loss),
            reference_perplexity: perplexity(reference_loss),
            hidden_cosine_mean: cosines.iter().sum::<f64>() / cosines.len().max(1) as f64,
            hidden_cosine_median: cosines.get(cosines.len() / 2).copied().unwrap_or(1.0),
            hidden_cosine_min: cosines.first().copied().unwrap_or(1.0),
            pooled_cosine_mean: pooled / sums.texts.max(1) as f64,
            ..sums
        })
    }

    /// The logits among which a model chooses, a choice each: a token's or a text's labels; where an answer starts, and
    /// where it ends.
    fn choices(&self, logits: &[f32]) -> Vec<Vec<f32>> {
        match self.head {
            Head::QuestionAnswering => (0..self.outputs)
                .map(|which| {
                    logits
                        .iter()
                        .skip(which)
                        .step_by(self.outputs)
                        .copied()
                        .collect()
                })
                .collect(),
            _ => logits
                .chunks_exact(self.outputs.max(1))
                .map(<[f32]>::to_vec)
                .collect(),
        }
    }
}

impl Reference {
    /// The last hidden states of all tokens of a text, and the logits of its masks.
    ///
    /// # Panics
    /// When a token isn't in the vocabulary, or there are more than positions.
    pub fn answer(&self, text: &MaskedText) -> (Vec<f32>, Vec<f32>) {
        let width = self.config().hidden_size;
        let hidden = self.forward(&text.ids);
        let masks = text
            .masks
            .iter()
            .flat_map(|&at| &hidden[at * width..(at + 1) * width]);
        let logits = self.logits(&masks.copied().collect::<Vec<_>>());
        (hidden, logits)
    }
}

/// The sum of rows, which has the direction of their mean.
fn sum_of_rows(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    sum
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).min(1.0)
}

/// The tokens with the largest logits, the largest first; of equal ones the first.
fn top(logits: &[f32]) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(TOP + 1);
    for (id, logit) in logits.iter().enumerate() {
        let place = best.partition_point(|&b| logits[b] >= *logit);
        if place < TOP {
            best.insert(place, id);
            best.truncate(TOP);
        }
    }
    best
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let x: Vec<f64> = logits.iter().map(|l| f64::from(l - max)).collect();
    let sum = x.iter().map(|x| x.exp()).sum::<f64>().ln();
    x.into_iter().map(|x| x - sum).collect()
}
