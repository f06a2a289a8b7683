//! `rq eval`, and its short form at the end of a conversion.

use crate::Ended;
use crate::args::{ComputeArgs, whole};
use crate::console::{self, say};
use crate::human::share;
use crate::records::json_line;
use crate::{locate, texts};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rq::{Batch, Model, Rows, Session, SessionOptions};
use rq_convert::{
    Calibration, Closeness, Expected, HubCache, Pretrained, Reference, Source, mask_texts,
};
use rq_format::Head;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The tokens of the short form.
const SHORT_TOKENS: usize = 512;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq eval roberta-large.rq --against ./roberta-large\n  rq eval my.rq --against ./my-model --text my-texts.txt --json --min-agreement 0.95"
)]
pub(super) struct EvalArgs {
    /// Model file, or name of a converted model
    #[arg(value_name = "FILE|NAME")]
    file: String,

    /// Checkpoint that it was converted from: a directory, or the name of a model in the Hugging Face cache
    #[arg(long, value_name = "SOURCE")]
    against: String,

    /// File to evaluate on, one text per line [default: the built-in English text]
    ///
    /// Choose a text that the model wasn't calibrated on. For a masked language model, about 15 % of the tokens are masked,
    /// always the same ones.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,

    /// Evaluate on at most this many tokens, spread over the whole text
    #[arg(long, value_name = "N", default_value_t = 4096)]
    #[arg(allow_negative_numbers = true, value_parser = whole::<usize>(16, Some(1_000_000)))]
    tokens: usize,

    /// Exit with 1 if the best token or label agrees with the checkpoint's less often than this, from 0 to 1
    #[arg(long, value_name = "X", value_parser = zero_to_one)]
    min_agreement: Option<f64>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    compute: ComputeArgs,
}

fn zero_to_one(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|x| (0.0..=1.0).contains(x));
    value.ok_or_else(|| "a number from 0 to 1".to_owned())
}

/// The object of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a str,
    against: &'a str,
    text: &'a str,
    #[serde(flatten)]
    closeness: &'a Closeness,
}

pub(super) fn run(args: &EvalArgs) -> Result<Ended> {
    let path = locate::find(&args.file)?;
    let model = Arc::new(locate::open_file(&path)?);
    let source = Source::find(&args.against, &HubCache::from_env())?;
    let (name, text) = match &args.text {
        None => (
            "built-in English text".to_owned(),
            Calibration::english().text().to_owned(),
        ),
        Some(path) => (path.display().to_string(), texts::read(path, u64::MAX)?),
    };
    let mut session = args.compute.session(&model)?;
    let closeness = closeness(&mut session, &source, &text, args.tokens)?;
    let closeness = closeness.with_context(|| {
        format!("the model's tokenizer knows too little of the text {name}: pass another one with --text")
    })?;
    let mut out = console::output();
    if args.json {
        let report = Report {
            file: &path.display().to_string(),
            against: source.name(),
            text: &name,
            closeness: &closeness,
        };
        json_line(&mut out, &report)?;
    } else {
        table(&mut out, model.config().head, &closeness)?;
    }
    let Some(least) = args.min_agreement else {
        return Ok(Ended::Success);
    };
    let Some(agreement) = closeness.top1_agreement else {
        bail!("--min-agreement: the model has no head, so it has no answers that could agree");
    };
    if agreement >= least {
        return Ok(Ended::Success);
    }
    let (best, of) = words(model.config().head);
    say(format_args!(
        "the {best} agrees with the checkpoint's for {agreement:.4} of the {of}, less than {least}"
    ));
    Ok(Ended::Failure)
}

/// A line that compares a converted file with its source on a short text. `None` if the tokenizer doesn't know the text.
pub(super) fn short(file: &Path, source: &Source, text: &Calibration) -> Result<Option<String>> {
    let mut session = Session::new(Model::open(file)?, &SessionOptions::default())?;
    let closeness = closeness(&mut session, source, &text.kept_back(), SHORT_TOKENS)?;
    Ok(closeness.map(|c| {
        let (best, of) = words(session.model().config().head);
        let agreement = c.top1_agreement.map(|agreement| {
            let (agreement, masks) = (share(agreement), c.masks);
            format!("the same {best} for {agreement} of {masks} {of}, ")
        });
        format!(
            "compared with the checkpoint: {}cosine of the hidden states {:.5}, on {} tokens of the {}, which no calibration \
             sees",
            agreement.unwrap_or_default(),
            c.hidden_cosine_mean,
            c.tokens,
            text.name()
        )
    }))
}

fn closeness(
    session: &mut Session,
    source: &Source,
    text: &str,
    tokens: usize,
) -> Result<Option<Closeness>> {
    let head = session.model().config().head;
    let pretrained = Pretrained::open_as(source, "f32", Some(head))?;
    let texts = mask_texts(text, &pretrained, tokens)?;
    let (config, found) = (&pretrained.config, session.model().config());
    let shape = |c: &rq_format::Config| {
        [
            c.vocab_size,
            c.hidden_size,
            c.embedding_width(),
            c.num_hidden_layers,
            c.intermediate_size,
            c.max_position_embeddings,
        ]
    };
    ensure!(
        shape(config) == shape(found)
            && (config.architecture, config.head, &config.labels)
                == (found.architecture, found.head, &found.labels),
        "the file wasn't converted from {}: its model has another shape or head",
        source.name()
    );
    if texts.is_empty() {
        return Ok(None);
    }
    let reference = Reference::load(&pretrained.checkpoint, config)?;
    let expected = Expected::new(&reference, texts);
    drop(reference);
    let closeness = expected.compare(|text| {
        let batch = Batch::from_iter([&text.ids]);
        let hidden = session.hidden_states(&batch, Rows::All)?;
        let logits = match text.masks.is_empty() {
            true => Vec::new(),
            false => session.logits(&batch, Rows::Only(&text.masks))?,
        };
        Ok::<_, rq::Error>((hidden, logits))
    })?;
    Ok(Some(closeness))
}

/// What a head chooses, and what it chooses for.
fn words(head: Head) -> (&'static str, &'static str) {
    match head {
        Head::SequenceClassification => ("best label", "texts"),
        Head::TokenClassification => ("best label", "tokens"),
        Head::QuestionAnswering => ("best place", "starts and ends"),
        _ => ("best token", "masks"),
    }
}

fn table(out: &mut impl Write, head: Head, c: &Closeness) -> Result<()> {
    let (best, of) = words(head);
    let mut rows = vec![
        ("texts".to_owned(), c.texts.to_string()),
        ("tokens".to_owned(), c.tokens.to_string()),
    ];
    let mut row = |name: String, value: Option<String>| rows.extend(value.map(|v| (name, v)));
    if !matches!(
        head,
        Head::None | Head::SequenceClassification | Head::TokenClassification
    ) {
        row(of.into(), Some(c.masks.to_string()));
    }
    row(format!("same {best}"), c.top1_agreement.map(share));
    let five = best.replace("best ", "five best ") + "s";
    row(format!("same {five}"), c.top5_agreement.map(share));
    row("KL divergence".into(), c.kl.map(|x| format!("{x:.5} nats")));
    row(
        "pseudo-perplexity".into(),
        c.perplexity.map(|x| format!("{x:.3}")),
    );
    row(
        "the checkpoint's".into(),
        c.reference_perplexity.map(|x| format!("{x:.3}")),
    );
    for (name, cosine) in [
        ("cosine, mean", c.hidden_cosine_mean),
        ("cosine, median", c.hidden_cosine_median),
        ("cosine, worst", c.hidden_cosine_min),
        ("cosine of texts' means", c.pooled_cosine_mean),
    ] {
        row(name.into(), Some(format!("{cosine:.6}")));
    }
    for (name, value) in rows {
        writeln!(out, "{name:<22} {value}")?;
    }
    Ok(())
}
