//! `rq tag`

use crate::Ended;
use crate::args::options;
use crate::args::{Choice, ComputeArgs, Format, ModelArg, one_of, whole};
use crate::console::Screen;
use crate::human::{column, percent, visible};
use crate::out::OutArgs;
use crate::records;
use crate::style;
use crate::task::{Command, answers_with};
use crate::texts::{FromLine, InputArgs, Text, from_json};
use anstyle::{Effects, Style};
use anyhow::{Context, Result};
use clap::Args;
use rq::{Aggregation, Entity, TagOptions, Tagger, Task, WordTag, WordTagger};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

const AGGREGATIONS: &[Choice<Aggregation>] = &[
    ("none", Aggregation::None, "Each token by itself"),
    (
        "simple",
        Aggregation::Simple,
        "Neighbouring tokens with the same label",
    ),
    (
        "first",
        Aggregation::First,
        "Neighbouring words; a word has the label of its first token",
    ),
    (
        "average",
        Aggregation::Average,
        "Neighbouring words; a word has the label that is most probable on average over its tokens",
    ),
    (
        "max",
        Aggregation::Max,
        "Neighbouring words; a word has the label of its most certain token",
    ),
];

#[derive(Args)]
#[command(
    after_help = "Examples:\n  rq tag -m names \"Anna Smith lives in New York.\"\n  rq tag -m names --aggregation first --jsonl --file texts.jsonl > tagged.jsonl\n  rq tag -m names --words '[\"Anna\", \"Smith\", \"lives\", \"here\"]'"
)]
pub(super) struct TagArgs {
    /// Texts; without any, standard input is read, one text per line
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    input: InputArgs,

    #[command(flatten)]
    output: OutArgs,

    /// Print JSON: per text, what transformers' pipeline returns
    ///
    /// A list of objects with entity_group, score, word, start and end; without aggregation, with entity, score, index,
    /// word, start and end. start and end count characters (code points) of the text, as Python does. A text that can't be
    /// tagged gives an object with error and line.
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,

    /// Read and print JSON lines: texts, and their entities
    ///
    /// An input line is a JSON object with the field text, a JSON string, or the text itself. entities is a list of the objects that --json prints. A text that can't be tagged has the
    /// field error instead.
    #[arg(long)]
    jsonl: bool,

    #[command(flatten)]
    model: ModelArg,

    /// Texts are lists of words, and each word gets a label
    ///
    /// A text is a JSON array of its words, as an argument or a line: ["Anna", "Smith", "lives", "here"]. With --jsonl, it can
    /// be in the field words of an object. Each word is tokenized by itself, as transformers does with is_split_into_words, and
    /// has the label of its first token; O is shown, too. With --json, a text gives a list of objects with word, label and score;
    /// with --jsonl, the fields labels and scores have one for each of the words. A word without tokens has null there. The model's
    /// tokenizer must put a space before words (add_prefix_space), if it is RoBERTa's.
    #[arg(long, conflicts_with_all = ["aggregation", "ignore_labels", "stride"])]
    words: bool,

    /// What makes up an entity
    ///
    /// If the vocabulary doesn't mark the tokens that continue a word (RoBERTa, XLM-RoBERTa, CamemBERT), words are
    /// separated by spaces and include punctuation.
    #[arg(short, long, value_name = "NAME", default_value = "simple", value_parser = one_of(AGGREGATIONS))]
    aggregation: Aggregation,

    /// Labels not to show
    ///
    /// For entities, the part after B- or I-; for tokens, the whole label.
    #[arg(
        long,
        value_name = "LABEL,...",
        value_delimiter = ',',
        default_value = "O"
    )]
    ignore_labels: Vec<String>,

    /// Read long texts as transformers does, in windows that share this many tokens
    ///
    /// Texts that are too long for the model are always read in overlapping windows. Without this flag, they overlap by a
    /// quarter, and a token has its label from the window in which it is farther from the edge. With it, each window
    /// has its own entities, and the longest of overlapping ones is kept.
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true, value_parser = whole::<u32>(0, None))]
    stride: Option<u32>,

    #[command(flatten)]
    compute: ComputeArgs,
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
            start: entity.characters.start,
            end: entity.characters.end,
        }
    }
}

fn records(entities: &[Entity]) -> Vec<EntityRecord<'_>> {
    entities.iter().map(EntityRecord::from).collect()
}

struct TagCommand {
    task: Tagger,
    options: TagOptions,
}

impl Command for TagCommand {
    answers_with!(Tagger, TagOptions);
    type Input = Text;

    fn input<'t>(&'t self, input: &'t Text) -> rq::Text<'t> {
        (&input.text).into()
    }

    fn show(&self, out: &mut impl Screen, input: &Text, entities: &Vec<Entity>) -> Result<()> {
        show(
            out,
            &self.task.model().config().labels,
            &input.text,
            entities,
        )
    }

    fn json(&self, _: &Text, entities: &Vec<Entity>) -> impl Serialize {
        records(entities)
    }

    fn columns(&self) -> Vec<&'static str> {
        vec!["entities"]
    }

    fn fields(&self, entities: &Vec<Entity>) -> impl Serialize {
        BTreeMap::from([("entities", records(entities))])
    }
}

/// The style of a label, whose kind is B-, I- or nothing before the same name.
fn style_of(label: &str, labels: &[String]) -> Style {
    let name = |label: &str| {
        let kind = label.strip_prefix("B-").or(label.strip_prefix("I-"));
        kind.unwrap_or(label).to_owned()
    };
    let mut names: Vec<String> = Vec::new();
    for name in labels
        .iter()
        .map(|label| name(label))
        .filter(|name| name != "O")
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let label = name(label);
    let place = names.iter().position(|name| *name == label);
    style::label(place.unwrap_or(names.len()))
}

/// Writes the text, in which entities stand out, and a table of them.
fn show(out: &mut impl Screen, of_model: &[String], text: &str, entities: &[Entity]) -> Result<()> {
    let mut end = 0;
    for entity in entities {
        // Of those that overlap, the first.
        if let (Some(before), Some(word)) = (
            text.get(end..entity.bytes.start),
            text.get(entity.bytes.clone()),
        ) {
            write!(out, "{}", visible(before))?;
            out.paint(style_of(&entity.label, of_model), &visible(word))?;
            end = entity.bytes.end;
        }
    }
    writeln!(out, "{}", visible(&text[end..]))?;
    let word = |entity: &Entity| visible(text.get(entity.bytes.clone()).unwrap_or_default());
    let words = column(entities.iter().map(word));
    let labels = column(entities.iter().map(|entity| visible(&entity.label)));
    let width = entities
        .last()
        .map_or(0, |e| e.characters.start.to_string().len());
    for ((entity, word), label) in entities.iter().zip(words).zip(labels) {
        let score = percent(entity.score);
        let Range { start, end } = entity.characters;
        write!(out, "  {word}  ")?;
        out.paint(
            style_of(&entity.label, of_model).effects(Effects::BOLD),
            &label,
        )?;
        writeln!(out, "  {score}  {start:width$}-{end}")?;
    }
    if entities.is_empty() {
        writeln!(out, "  nothing found")?;
    }
    Ok(())
}

/// A text that is divided into words.
#[derive(Deserialize, Serialize)]
struct Words {
    words: Vec<String>,
}

impl FromLine for Words {
    const FIELDS: &'static [&'static str] = &["words"];

    fn from_text(text: String) -> Result<Self> {
        let words = from_json(&text)
            .context("the words of a text are a JSON array, such as [\"Anna\", \"Smith\"]")?;
        Ok(Self { words })
    }
}

/// A word and its label, if it has one.
#[derive(Serialize)]
struct WordRecord<'w, 't> {
    word: &'w str,
    label: Option<&'t str>,
    score: Option<f64>,
}

fn word_records<'w, 't>(
    words: &'w [String],
    tags: &'t [Option<WordTag>],
) -> Vec<WordRecord<'w, 't>> {
    let record = |(word, tag): (&'w String, &'t Option<WordTag>)| WordRecord {
        word,
        label: tag.as_ref().map(|tag| tag.label.as_str()),
        score: tag.as_ref().map(|tag| f64::from(tag.score)),
    };
    words.iter().zip(tags).map(record).collect()
}

struct WordsCommand {
    task: WordTagger,
    options: (),
}

impl Command for WordsCommand {
    answers_with!(WordTagger, ());
    type Input = Words;

    fn input<'t>(&'t self, input: &'t Words) -> rq::Words<'t> {
        (&input.words).into()
    }

    fn show(
        &self,
        out: &mut impl Screen,
        input: &Words,
        tags: &Vec<Option<WordTag>>,
    ) -> Result<()> {
        let of_model = &self.task.model().config().labels;
        let words = column(input.words.iter().map(|word| visible(word)));
        let label =
            |tag: &Option<WordTag>| tag.as_ref().map_or("-".into(), |tag| visible(&tag.label));
        let labels = column(tags.iter().map(label));
        for ((word, label), tag) in words.iter().zip(labels).zip(tags) {
            write!(out, "{word}  ")?;
            match tag {
                Some(tag) if tag.label != "O" => {
                    let style = style_of(&tag.label, of_model).effects(Effects::BOLD);
                    out.paint(style, &label)?;
                }
                Some(_) => write!(out, "{label}")?,
                None => write!(out, "{}", label.trim_end())?,
            }
            match tag {
                Some(tag) => writeln!(out, "  {}", percent(tag.score))?,
                None => writeln!(out)?,
            }
        }
        if tags.is_empty() {
            writeln!(out, "no words")?;
        }
        Ok(())
    }

    fn json(&self, input: &Words, tags: &Vec<Option<WordTag>>) -> impl Serialize {
        word_records(&input.words, tags)
    }

    fn columns(&self) -> Vec<&'static str> {
        vec!["labels", "scores"]
    }

    fn fields(&self, tags: &Vec<Option<WordTag>>) -> impl Serialize {
        let label = |tag: &Option<WordTag>| tag.as_ref().map(|tag| tag.label.clone());
        let score = |tag: &Option<WordTag>| tag.as_ref().map(|tag| f64::from(tag.score));
        WordFields {
            labels: tags.iter().map(label).collect(),
            scores: tags.iter().map(score).collect(),
        }
    }
}

/// What `--jsonl` adds to words: a label and its score for each.
#[derive(Serialize)]
struct WordFields {
    labels: Vec<Option<String>>,
    scores: Vec<Option<f64>>,
}

fn run_words(args: &TagArgs, format: Format) -> Result<Ended> {
    let texts = args.input.open(&args.texts, format)?;
    let located = args.model.open()?;
    let session = args.compute.session(&located.model)?;
    let task = located.task(WordTagger::new(session))?;
    let command = WordsCommand { task, options: () };
    records::run(command, texts, format, &located, &args.output)
}

pub(super) fn run(args: &TagArgs) -> Result<Ended> {
    let format = Format::new(args.json, args.jsonl);
    if args.words {
        return run_words(args, format);
    }
    let texts = args.input.open(&args.texts, format)?;
    let located = args.model.open()?;
    let session = args.compute.session(&located.model)?;
    let task = located.task(Tagger::new(session))?;
    let options = options!(TagOptions {
        aggregation: args.aggregation,
        stride: args.stride.map(|stride| stride as usize),
        ignore_labels: args.ignore_labels.clone(),
    });
    // An impossible stride isn't the fault of a text.
    task.prepare("", &options)?;
    let command = TagCommand { task, options };
    records::run(command, texts, format, &located, &args.output)
}
