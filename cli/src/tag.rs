//! `rq tag`

use super::fill::percent;
use super::task::{self, Command};
use super::texts::{Text, TextArgs};
use super::{ComputeArgs, locate};
use anyhow::Result;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, value_parser};
use rq::{Aggregation, Entity, TagOptions, Tagger, Task};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

const JSON: &str =
    "Print one line of JSON a text: what transformers' token-classification pipeline returns";
const JSON_LONG: &str = "\
Print one line of JSON a text: what transformers' token-classification pipeline returns

A list of objects with entity_group, score, word, start and end, or without aggregation with entity, score, index, word, \
start and end. start and end count characters (code points) of the text, as Python does. A text that can't be tagged has an \
object with error, the reason, and line.";
const JSONL: &str = "Read and print JSON lines: objects with text, and with text and entities";
const JSONL_LONG: &str = "\
Read and print JSON lines: objects with text, and with text and entities

A line that begins with { or \" is JSON, an object with the field text or a string; any other is the text itself. entities \
is a list of objects as those of --json. A text that can't be tagged has the field error, with the reason.";
const EXAMPLES: &str = "Examples:
  rq tag -m names \"Anna Smith lives in New York.\"
  rq tag -m names --aggregation first --jsonl --file texts.jsonl > tagged.jsonl";

#[derive(Args)]
#[command(
    mut_arg("json", |json| json.help(JSON).long_help(JSON_LONG)),
    mut_arg("jsonl", |jsonl| jsonl.help(JSONL).long_help(JSONL_LONG)),
    after_help = EXAMPLES
)]
pub(super) struct TagArgs {
    #[command(flatten)]
    texts: TextArgs,

    /// Model file, or name of a converted model
    ///
    /// The environment variable RQ_MODEL does the same.
    #[arg(short, long, value_name = "FILE|NAME")]
    model: Option<String>,

    /// How tokens make up entities: none, simple, first, average or max
    ///
    /// none: each token is shown by itself. simple: neighbours of the same label are an entity. The others do so with words
    /// in place of tokens; a word has the label of its first token, the one that is the most probable on the average of its
    /// tokens, or that of its surest token. Where the vocabulary doesn't mark what goes on with a word (RoBERTa,
    /// XLM-RoBERTa, CamemBERT), words are divided by spaces, and punctuation is a part of them.
    #[arg(short, long, value_name = "NAME", default_value = "simple")]
    #[arg(value_parser = aggregation_parser(), hide_possible_values = true)]
    aggregation: Aggregation,

    /// Labels not to show
    ///
    /// Of entities it is the part behind B- or I-, of tokens the whole.
    #[arg(
        long,
        value_name = "LABEL,...",
        value_delimiter = ',',
        default_value = "O"
    )]
    ignore_labels: Vec<String>,

    /// Read long texts in windows that overlap by so many tokens, and put them together as transformers does
    ///
    /// Texts that are too long for the model are read in windows in any case. Without this they overlap by a quarter, and
    /// each token has the label of the window in which it stands farther from the edge. With it, entities are made up in
    /// each window, and of those that overlap the longest is taken.
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    #[arg(value_parser = value_parser!(u32))]
    stride: Option<u32>,

    #[command(flatten)]
    compute: ComputeArgs,
}

/// Takes the names of ways to aggregate.
fn aggregation_parser() -> impl TypedValueParser<Value = Aggregation> {
    PossibleValuesParser::new(["none", "simple", "first", "average", "max"]).map(|name| match name
        .as_str()
    {
        "none" => Aggregation::None,
        "first" => Aggregation::First,
        "average" => Aggregation::Average,
        "max" => Aggregation::Max,
        _ => Aggregation::Simple,
    })
}

/// One entity, in transformers' fields and order.
#[derive(Serialize)]
struct EntityRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    entity_group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<&'a str>,
    score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    word: &'a str,
    start: usize,
    end: usize,
}

impl<'a> From<&'a Entity> for EntityRecord<'a> {
    fn from(entity: &'a Entity) -> Self {
        let label = entity.label.as_str();
        let (entity_group, token) = match entity.index {
            None => (Some(label), None),
            Some(_) => (None, Some(label)),
        };
        Self {
            entity_group,
            entity: token,
            score: f64::from(entity.score),
            index: entity.index,
            word: &entity.word,
            start: entity.start,
            end: entity.end,
        }
    }
}

/// What `--jsonl` adds to the text.
#[derive(Serialize)]
struct Entities<'a> {
    entities: Vec<EntityRecord<'a>>,
}

fn records(entities: &[Entity]) -> Vec<EntityRecord<'_>> {
    entities.iter().map(EntityRecord::from).collect()
}

struct TagCommand<'m> {
    task: Tagger<'m>,
    options: TagOptions,
}

impl<'m> Command for TagCommand<'m> {
    type Task = Tagger<'m>;
    type Input = Text;

    fn task(&self) -> &Tagger<'m> {
        &self.task
    }

    fn options(&self) -> &TagOptions {
        &self.options
    }

    fn input<'t>(&'t self, input: &'t Text) -> &'t str {
        &input.text
    }

    fn show(&self, out: &mut impl Write, input: &Text, entities: &Vec<Entity>) -> Result<()> {
        show(out, &input.text, entities)
    }

    fn json(&self, _: &Text, entities: &Vec<Entity>) -> impl Serialize {
        records(entities)
    }

    fn fields(&self, entities: &Vec<Entity>) -> impl Serialize {
        Entities {
            entities: records(entities),
        }
    }
}

/// Writes the text and a table of its entities, as they stand in it.
fn show(out: &mut impl Write, text: &str, entities: &[Entity]) -> Result<()> {
    writeln!(out, "{text}")?;
    let shown = |entity: &Entity| -> String {
        let found = text.get(entity.range.clone()).unwrap_or_default();
        // No line ends inside the table.
        let shown = |c: char| if c.is_control() { ' ' } else { c };
        found.chars().map(shown).collect()
    };
    let words: Vec<String> = entities.iter().map(shown).collect();
    let width = |texts: &mut dyn Iterator<Item = &str>| {
        texts.map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let word_width = width(&mut words.iter().map(String::as_str));
    let label_width = width(&mut entities.iter().map(|entity| &*entity.label));
    let start_width = entities.last().map_or(0, |e| e.start.to_string().len());
    for (entity, word) in entities.iter().zip(&words) {
        let Entity {
            label, start, end, ..
        } = entity;
        let score = percent(entity.score);
        writeln!(
            out,
            "  {word:word_width$}  {label:label_width$}  {score} %  {start:start_width$}-{end}"
        )?;
    }
    if entities.is_empty() {
        writeln!(out, "  nothing found")?;
    }
    Ok(())
}

pub(super) fn run(args: &TagArgs) -> Result<ExitCode> {
    let texts = args.texts.open("tag")?;
    let located = locate::open(args.model.as_deref())?;
    let task = Tagger::new(&located.model);
    let task = locate::blame_default(args.model.as_deref(), task)?;
    let options = TagOptions {
        aggregation: args.aggregation,
        stride: args.stride.map(|stride| stride as usize),
        ignore_labels: args.ignore_labels.clone(),
    };
    // A stride that can't be is no fault of a text.
    task.prepare("", &options)?;
    located.model.prefetch();
    let session = args.compute.session(&located.model)?;
    let command = TagCommand { task, options };
    task::run(command, session, texts, args.texts.format(), &located)
}
