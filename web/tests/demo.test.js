// The demo page in Chromium: what it shows for each kind of model, by keyboard alone, on a narrow screen, in the dark, and offline.
// SCREENSHOTS=DIR keeps pictures.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { DEMO, WEB, browser, converted, folder, rq, serve } from './common.js';

const site = folder();
let chromium, server;

before(async () => {
  execFileSync(join(WEB, 'site'), [site, DEMO]);
  server = await serve({ '/': site + '/' });
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  server?.close();
});

/** Opens the page, with a model if one is named, and watches for what shouldn't be. */
async function withPage(options, model, at, code = at) {
  const { url } = at === code ? server : at;
  const context = await chromium.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && !/ERR_INTERNET_DISCONNECTED|ERR_CONNECTION/.test(message.text()) && wrong.push(message.text()));
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !/^(blob|data):/.test(request.url())) wrong.push(`a foreign address: ${request.url()}`);
  });
  try {
    await page.goto(url);
    if (model) {
      await page.setInputFiles('#file', model);
      await page.locator('#compare .heat').waitFor();
    }
    await code(page, context);
    assert.deepEqual(wrong, []);
  } finally {
    await context.close();
  }
}

async function screenshots(name, model, code = async () => {}) {
  if (!process.env.SCREENSHOTS) return;
  for (const width of [360, 1280]) {
    for (const colorScheme of ['light', 'dark']) {
      await withPage({ viewport: { width, height: 800 }, colorScheme, deviceScaleFactor: width < 400 ? 2 : 1 }, model, async (page) => {
        await code(page);
        await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}-${width}-${colorScheme}.png`), fullPage: true });
      });
    }
  }
}

/** The words and shares of bars. */
const bars = (page, id) => page.locator(`${id} .bars li`).evaluateAll((all) => all.map((li) => [li.querySelector('.what').textContent, li.querySelector('.share').textContent]));
const percent = (share) => `${(share * 100).toFixed(1)} %`;

test('a masked language model, by keyboard', async () => {
  await withPage({}, undefined, async (page) => {
    await page.locator('#beside').waitFor();
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'file');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'beside');
    await page.keyboard.press('Enter');
    await page.locator('#compare .heat').waitFor();
    const [first] = rq('fill', '--json', '-k', 6, 'She opened the <mask> and walked into the garden.');
    assert.deepEqual(await bars(page, '#fill'), first.map(({ token_str, score }) => [token_str.trim(), percent(score)]));

    await page.locator('#fill-text').focus();
    await page.keyboard.press('Control+A');
    await page.keyboard.type('He sat by the ');
    await page.locator('#insert').focus();
    await page.keyboard.press('Space');
    await page.keyboard.type('.');
    await page.keyboard.press('Enter');
    const [second] = rq('fill', '--json', '-k', 6, 'He sat by the <mask>.');
    await page.locator('#fill .bars li', { hasText: second[0].token_str.trim() }).first().waitFor();
    assert.deepEqual(await bars(page, '#fill'), second.map(({ token_str, score }) => [token_str.trim(), percent(score)]));

    await page.fill('#fill-text', 'No word is missing.');
    await page.keyboard.press('Enter');
    await page.locator('#fill [role=alert]', { hasText: '<mask>' }).waitFor();
    await page.fill('#fill-text', 'A <mask> in the <mask>.');
    await page.keyboard.press('Enter');
    await page.locator('#fill h3', { hasText: 'Word 2' }).waitFor();

    await page.locator('#close').click();
    assert.equal(await page.locator('#fill').isVisible(), false);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'file');
  });
  await screenshots('fill', DEMO);
  await screenshots('start');
});

test('speed', () =>
  withPage({}, DEMO, async (page) => {
    await page.locator('#speed button').click();
    await page.locator('#speed .times').waitFor({ timeout: 60_000 });
    const rows = await page.locator('#speed tbody tr').evaluateAll((rows) => rows.map((row) => row.cells[0].textContent + row.cells[1].textContent));
    assert.equal(rows.length, 3);
    rows.forEach((row, i) => assert.match(row, new RegExp(`^${[16, 64, 128][i]}\\d.* ms$`)));
    assert.match(await page.locator('#speed .out').textContent(), /relaxed SIMD/);
  }));

test('comparing', () =>
  withPage({}, DEMO, async (page) => {
    const texts = ['The dog barked.', 'A dog was barking.', 'It was a fine evening in June.'];
    await page.fill('#compare-text', texts.join('\n'));
    await page.locator('#compare button').click();
    await page.locator('#compare .key li', { hasText: 'barking' }).waitFor();
    const cells = await page.locator('#compare td:visible').allTextContents();
    const [matrix] = rq('similar', '--json', ...texts);
    assert.deepEqual(cells, matrix.flat().map((cosine) => cosine.toFixed(2).replace('-', '−')));
  }));

test('names', async () => {
  const model = converted('tasks/tags');
  await withPage({}, model, async (page) => {
    const text = '🎉 Anna Smith lives in New York.';
    await page.fill('#tag-text', text);
    await page.keyboard.press('Enter');
    await page.locator('#tag .text', { hasText: '🎉' }).waitFor();
    const marks = await page.locator('#tag mark').evaluateAll((marks) => marks.map((mark) => mark.firstChild.textContent));
    const [expected] = rq('tag', '--json', '-m', model, text);
    assert.deepEqual(marks, expected.map(({ start, end }) => [...text].slice(start, end).join('')));
    assert.match(await page.locator('#tag mark', { hasText: 'Anna Smith' }).textContent(), /PER/);
  });
  await screenshots('tags', model);
});

test('answers', async () => {
  const model = converted('tasks/answers');
  await withPage({}, model, async (page) => {
    await page.locator('#answer .found', { hasText: 'New York' }).waitFor();
    assert.equal(await page.locator('#answer mark').textContent(), 'New York');
    await page.fill('#answer-context', 'It rained.');
    await page.locator('#answer button').click();
    await page.locator('#answer .hint', { hasText: 'doesn’t say' }).waitFor();
  });
  await screenshots('answers', model);
});

test('classes, and labels of one’s own', async () => {
  await withPage({}, converted('tasks/topics'), async (page) => {
    assert.equal((await bars(page, '#classify'))[0][0], 'sports');
    assert.equal(await page.locator('#pair').isVisible(), false);
  });
  const nli = converted('tasks/nli');
  await withPage({}, nli, async (page) => {
    assert.equal((await bars(page, '#classify'))[0][0], 'entailment');
    assert.equal((await bars(page, '#labels'))[0][0], 'sports');
  });
  await screenshots('nli', nli);
});

test('a file that is no model', () =>
  withPage({}, undefined, async (page) => {
    await page.setInputFiles('#file', { name: 'x.rq', mimeType: '', buffer: Buffer.from('no model'.repeat(100)) });
    await page.locator('#problem').waitFor();
    assert.match(await page.locator('#problem').textContent(), /model/);
  }));

test('dropping a file', () =>
  withPage({}, undefined, async (page) => {
    const data = await page.evaluateHandle(async () => {
      const data = new DataTransfer();
      data.items.add(new File([await (await fetch('model.rq')).arrayBuffer()], 'dropped.rq'));
      return data;
    });
    await page.dispatchEvent('body', 'dragenter', { dataTransfer: data });
    assert.ok(await page.locator('#drop').isVisible());
    await page.dispatchEvent('body', 'drop', { dataTransfer: data });
    await page.locator('#name', { hasText: 'dropped.rq' }).waitFor();
    assert.equal(await page.locator('#drop').isVisible(), false);
  }));

test('offline, after the first visit', async () => {
  const own = await serve({ '/': site + '/' });
  await withPage({}, undefined, own, async (page, context) => {
    await page.locator('#beside').click();
    await page.locator('#compare .heat').waitFor();
    await page.evaluate(() => navigator.serviceWorker.ready);
    await page.waitForFunction(() => caches.match('model.rq'));
    await context.setOffline(true);
    own.close();
    await page.reload();
    await page.locator('#beside').click();
    await page.locator('#fill .bars').waitFor();
  });
});

test('narrow, accessible, and with enough contrast', async (context) => {
  const models = { fill: DEMO, tags: converted('tasks/tags'), answers: converted('tasks/answers'), nli: converted('tasks/nli') };
  for (const colorScheme of ['light', 'dark']) {
    for (const [name, model] of Object.entries(models)) {
      await context.test(`${name}, ${colorScheme}`, () =>
        withPage({ viewport: { width: 360, height: 800 }, colorScheme }, model, async (page) => {
          assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
          assert.deepEqual(await page.evaluate(unnamed), []);
          assert.deepEqual(await page.evaluate(faint), []);
        }));
    }
  }
});

/** What can be used and has no name, or is too small to be hit. */
function unnamed() {
  const all = [...document.querySelectorAll('button, input, textarea, progress, table')].filter((element) => element.checkVisibility());
  const nameless = all.filter((element) => !(element.getAttribute('aria-label') || [...(element.labels ?? [])].some((label) => label.textContent.trim()) || element.textContent.trim()));
  const small = all.filter((element) => element.matches('button, input:not(.away), textarea') && element.getBoundingClientRect().height < 24);
  return [...nameless, ...small].map((element) => element.outerHTML.slice(0, 200));
}

/** Texts whose contrast is below 4.5, as WCAG counts it (3 for large ones). */
function faint() {
  const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true });
  const over = (color, [r, g, b]) => {
    canvas.fillStyle = `rgb(${r} ${g} ${b})`;
    canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const under = element.parentElement ? behind(element.parentElement) : [255, 255, 255];
    return over(getComputedStyle(element).backgroundColor, under);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { textContent, parentElement: element } = walker.currentNode;
    if (!textContent.trim() || !element.checkVisibility() || element.closest('.away, #drop')) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const [a, b] = [luminance(over(style.color, back)), luminance(back)].sort((a, b) => b - a);
    const needed = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < needed) found.push(`${contrast.toFixed(2)}: ${textContent.trim().slice(0, 40)}`);
  }
  return found;
}
