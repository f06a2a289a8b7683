// The page: opens a model, shows what it is for, and asks it.

import { Rq, cos_sim } from './rq-runtime/index.js';

const MODEL = 'model.rq';
const $ = (id) => document.getElementById(id);

/** @type {Rq | undefined} */
let rq;
let opening = new AbortController();

/** An element with these properties and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('--')) element.style.setProperty(name, value);
    else if (name.includes('-')) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

const number = (value, digits = 0) => value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
const megabytes = (bytes) => `${number(bytes / 1e6, 1)} MB`;
const percent = (share) => `${number(share * 100, 1)} %`;

function show(id, visible) {
  $(id).hidden = !visible;
}

function problem(error) {
  $('problem').textContent = error.message ?? String(error);
  show('problem', true);
}

// -- The model ---------------------------------------------------------------------------------------------------------

const TASKS = {
  'fill-mask': 'fills in words',
  'text-classification': 'classifies texts',
  'token-classification': 'marks names',
  'question-answering': 'finds answers',
  'feature-extraction': 'compares texts',
};
const ARCHITECTURES = { roberta: 'RoBERTa', bert: 'BERT', distilbert: 'DistilBERT', electra: 'ELECTRA', mpnet: 'MPNet' };
const TIERS = { relaxed: 'WebAssembly, relaxed SIMD', simd128: 'WebAssembly, SIMD' };

function facts(info, memory) {
  const { config } = info;
  const rows = {
    'What it does': TASKS[info.task],
    Parameters: info.parameters < 1e6 ? number(info.parameters) : `${number(info.parameters / 1e6, 1)} million`,
    Architecture: `${ARCHITECTURES[config.architecture] ?? config.architecture}, ${config.num_hidden_layers} layers of ${number(config.hidden_size)}`,
    Quantization: config.quantization,
    'Longest text': `${number(info.max_tokens)} tokens`,
    File: megabytes(info.bytes),
    Memory: megabytes(memory),
    'Computes with': TIERS[info.instruction_set] ?? info.instruction_set,
  };
  const row = ([what, value]) => make('div', {}, make('dt', { textContent: what }), make('dd', { textContent: value }));
  $('facts').replaceChildren(...Object.entries(rows).map(row));
}

function close() {
  opening.abort();
  rq?.close();
  rq = undefined;
  show('about', false);
  for (const { id } of document.querySelectorAll('main > section:not(#opening)')) show(id, false);
  for (const out of document.querySelectorAll('.out')) out.replaceChildren();
}

async function open(source, name) {
  close();
  show('problem', false);
  const controller = new AbortController();
  opening = controller;
  $('progress').removeAttribute('value');
  $('loading-text').textContent = `Opening ${name}`;
  show('loading', true);
  const onProgress = ({ loaded, total }) => {
    if (opening !== controller) return;
    $('progress').value = loaded / total;
    $('loading-text').textContent = `${megabytes(loaded)} of ${megabytes(total)}`;
  };
  try {
    const model = await Rq.open(source, { signal: controller.signal, onProgress });
    if (opening !== controller) return model.close();
    rq = model;
    const { info } = rq;
    facts(info, await rq.memory());
    $('name').textContent = name;
    show('about', true);
    await begin(info);
  } catch (error) {
    if (opening === controller && error.name !== 'AbortError') problem(error);
  } finally {
    if (opening === controller) show('loading', false);
  }
}

// -- What it is asked --------------------------------------------------------------------------------------------------

/** Bars for parts of one. */
function bars(parts) {
  const one = ([what, share]) =>
    make('li', {}, make('span', { className: 'what', textContent: what }), make('span', { className: 'bar', 'aria-hidden': 'true' }, make('i', { '--share': share })), make('span', { className: 'share', textContent: percent(share) }));
  return make('ol', { className: 'bars' }, ...parts.map(one));
}

/** A text with places marked. */
function marked(text, places) {
  const paragraph = make('p', { className: 'text' });
  let at = 0;
  for (const { start, end, kind = 0, label } of places) {
    if (start < at) continue;
    const mark = make('mark', { className: `kind-${kind % 5}` }, text.slice(start, end));
    if (label) mark.append(make('small', { textContent: label }));
    paragraph.append(text.slice(at, start), mark);
    at = end;
  }
  paragraph.append(text.slice(at));
  return paragraph;
}

const lines = (text) => text.split('\n').map((line) => line.trim()).filter(Boolean);
const value = (id) => $(id).value;

const ask = {
  async fill() {
    const found = await rq.fill(value('fill-text'), { top_k: 6 });
    const list = (fills) => bars(fills.map(({ token_str, score }) => [token_str.trim() || token_str, score]));
    if (!Array.isArray(found[0])) return [list(found)];
    return found.flatMap((fills, i) => [make('h3', { textContent: `Word ${i + 1}` }), list(fills)]);
  },

  async classify() {
    const text_pair = value('classify-pair').trim() || undefined;
    const labels = await rq.classify({ text: value('classify-text'), text_pair }, { top_k: null });
    return [bars(labels.map(({ label, score }) => [label.toLowerCase().replaceAll('_', ' '), score]))];
  },

  async labels() {
    const { labels, scores } = await rq.zeroShot(value('labels-text'), value('labels-list'), { hypothesis_template: 'This text is about {}.' });
    return [bars(labels.map((label, i) => [label, scores[i]]))];
  },

  async tag() {
    const text = value('tag-text');
    const entities = await rq.tag(text, { aggregation_strategy: 'simple' });
    const kinds = [...new Set(rq.info.labels.map((label) => label.replace(/^[BI]-/, '')).filter((label) => label !== 'O'))];
    const places = entities.map(({ entity_group: label, start, end }) => ({ start, end, label, kind: kinds.indexOf(label) }));
    return [marked(text, places), ...(entities.length ? [] : [make('p', { className: 'hint', textContent: 'No names found.' })])];
  },

  async answer() {
    const context = value('answer-context');
    const { answer, score, start, end } = await rq.answer(value('answer-question'), context, { handle_impossible_answer: true });
    if (!answer) return [make('p', { className: 'hint', textContent: `The text doesn’t say (${percent(score)}).` })];
    const place = { start, end };
    return [make('p', { className: 'found', textContent: answer }), make('p', { className: 'hint', textContent: percent(score) }), marked(context, [place])];
  },

  async compare() {
    const texts = lines(value('compare-text'));
    if (texts.length < 2 || texts.length > 12) throw new Error('Write two to twelve sentences, one on each line.');
    const rows = await rq.embed(texts, { pooling: rq.info.config.pooling ? undefined : 'mean', truncate: true });
    const cosines = rows.map((a) => rows.map((b) => cos_sim(a, b)));
    const least = Math.min(...cosines.flat());
    const part = (cosine) => (least < 1 ? (cosine - least) / (1 - least) : 1);
    const numbers = texts.map((_, i) => make('th', { scope: 'col', textContent: i + 1, title: texts[i] }));
    const cell = (cosine) => make('td', { '--part': part(cosine), textContent: cosine.toFixed(2).replace('-', '−') });
    const row = (cosines, i) => make('tr', {}, make('th', { scope: 'row', textContent: i + 1, title: texts[i] }), ...cosines.map(cell));
    const head = make('thead', {}, make('tr', {}, make('td', { hidden: true }), make('th', { scope: 'col' }, make('span', { className: 'away', textContent: 'Sentence' })), ...numbers));
    const table = make('table', { className: 'heat', 'aria-label': 'Cosine of each two sentences' }, head, make('tbody', {}, ...cosines.map(row)));
    return [make('div', { className: 'scroll' }, table), make('ol', { className: 'key' }, ...texts.map((text) => make('li', { textContent: text })))];
  },

  async speed(out) {
    const lengths = [16, 64, 128].filter((tokens) => tokens <= rq.info.max_tokens);
    const times = [];
    for (const tokens of lengths) {
      out.replaceChildren(make('p', { className: 'hint', textContent: `Measuring ${tokens} tokens` }));
      times.push(await rq.bench({ tokens, seconds: 1 }));
    }
    const head = ['Tokens', 'Least', 'Median', 'Passes'].map((text) => make('th', { scope: 'col', textContent: text }));
    const ms = (time) => `${number(time, time < 10 ? 2 : 1)} ms`;
    const row = ({ tokens, least, median, passes }) => make('tr', {}, ...[tokens, ms(least), ms(median), number(passes)].map((text) => make('td', { textContent: text })));
    const table = make('table', { className: 'times' }, make('thead', {}, make('tr', {}, ...head)), make('tbody', {}, ...times.map(row)));
    const { instruction_set, config, fingerprint } = rq.info;
    const text = JSON.stringify({ model: $('name').textContent, fingerprint, quantization: config.quantization, instruction_set, times, browser: navigator.userAgent });
    const copy = make('button', { type: 'button', className: 'link', textContent: 'Copy as JSON' });
    copy.onclick = async () => {
      try {
        await navigator.clipboard.writeText(text);
        copy.textContent = 'Copied';
      } catch {
        copy.replaceWith(make('code', { textContent: text }));
      }
    };
    return [table, make('p', { className: 'line' }, make('span', { className: 'hint', textContent: TIERS[instruction_set] ?? instruction_set }), copy)];
  },
};

/** Asks, and shows what is answered, unless something else was asked since. */
const asked = {};
async function run(id) {
  const out = $(id).querySelector('.out');
  const turn = (asked[id] = (asked[id] ?? 0) + 1);
  const button = $(id).querySelector('form button:not([type])');
  const model = rq;
  out.setAttribute('aria-busy', 'true');
  if (id === 'speed') button.disabled = true;
  let content;
  try {
    content = await ask[id](out);
  } catch (error) {
    content = error.code === 'closed' ? [] : [make('p', { className: 'problem', role: 'alert', textContent: error.message })];
  }
  button.disabled = false;
  if (turn !== asked[id] || model !== rq) return;
  out.replaceChildren(...content);
  out.removeAttribute('aria-busy');
}

const EXAMPLES = {
  'classify-text': 'The team won the match with a late goal.',
  'labels-text': 'The team won the match with a late goal.',
  'labels-list': 'sports, cooking, weather, money',
  'tag-text': 'Anna Smith lives in New York and works for Northwind.',
  'answer-question': 'Where does Anna live?',
  'answer-context': 'Anna lives in New York. Peter works as a taxi driver.',
  'compare-text': 'A cat sat on the mat.\nThere was a cat on the rug.\nThe boat left the port at noon.\nThe ship sailed away in the morning.\nIt rained all day.',
};

/** Shows what a model is for, with a first question. */
async function begin({ task, labels, mask_token }) {
  for (const [id, text] of Object.entries(EXAMPLES)) $(id).value ||= text;
  const sections = [];
  if (task === 'fill-mask') {
    for (const element of document.querySelectorAll('.mask')) element.textContent = mask_token;
    // Another model has another mask.
    if (!value('fill-text').includes(mask_token)) $('fill-text').value = `She opened the ${mask_token} and walked into the garden.`;
    sections.push('fill');
  }
  if (task === 'text-classification') {
    const isOfPairs = labels.some((label) => /entail/i.test(label)) || labels.length === 1;
    if (isOfPairs && !value('classify-pair')) {
      $('classify-text').value = 'A man is sleeping in the park.';
      $('classify-pair').value = 'The man is sleeping.';
    }
    show('pair', isOfPairs);
    if (!isOfPairs) $('classify-pair').value = '';
    sections.push('classify');
    if (labels.some((label) => /entail/i.test(label))) sections.push('labels');
  }
  if (task === 'token-classification') sections.push('tag');
  if (task === 'question-answering') sections.push('answer');
  sections.push('compare');
  for (const id of [...sections, 'speed']) show(id, true);
  for (const id of sections) await run(id);
}

// -- The page ----------------------------------------------------------------------------------------------------------

for (const id of Object.keys(ask)) {
  const form = $(id).querySelector('form');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    run(id);
  });
  // Enter asks; with Shift, or where lines matter, it is a line.
  form.addEventListener('keydown', (event) => {
    const isText = event.target.tagName === 'TEXTAREA' && !['compare-text', 'answer-context'].includes(event.target.id);
    if (event.key === 'Enter' && ((isText && !event.shiftKey) || event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
}

$('file').addEventListener('change', () => {
  const [file] = $('file').files;
  if (file) open(file, file.name);
  $('file').value = '';
});
$('beside').addEventListener('click', () => open(MODEL, MODEL));
$('stop').addEventListener('click', () => {
  opening.abort();
  show('loading', false);
});
$('close').addEventListener('click', () => {
  close();
  $('file').focus();
});
$('insert').addEventListener('click', () => {
  const field = $('fill-text');
  field.setRangeText(rq.info.mask_token, field.selectionStart, field.selectionEnd, 'end');
  field.focus();
});

let inside = 0;
const hasFile = (event) => event.dataTransfer?.types.includes('Files');
const drop = (change) => (event) => {
  if (!hasFile(event)) return;
  event.preventDefault();
  inside = Math.max(inside + change, 0);
  show('drop', inside > 0);
};
addEventListener('dragenter', drop(1));
addEventListener('dragleave', drop(-1));
addEventListener('dragover', drop(0));
addEventListener('drop', (event) => {
  if (!hasFile(event)) return;
  event.preventDefault();
  inside = 0;
  show('drop', false);
  const [file] = event.dataTransfer.files;
  if (file) open(file, file.name);
});

/** Whether there is a model beside the page, or it was there before. */
async function isBeside() {
  try {
    if (await globalThis.caches?.match(MODEL)) return true;
    const { ok, headers } = await fetch(MODEL, { method: 'HEAD' });
    return ok && !headers.get('content-type')?.startsWith('text/html');
  } catch {
    return false;
  }
}
show('beside', await isBeside());

if ('serviceWorker' in navigator) navigator.serviceWorker.register('sw.js').catch(() => {});
