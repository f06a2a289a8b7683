// Keeps the page for when there is no network: it asks the network first, and what that answers is kept. Models aren't its business:
// the package keeps those itself.

const CACHE = 'rq-demo';
const FILES = [
  './', 'style.css', 'app.js', 'icon.svg',
  ...['index', 'engine', 'errors', 'module', 'platform', 'source', 'worker'].map((name) => `rq-runtime/${name}.js`),
  'rq-runtime/rq-relaxed.wasm', 'rq-runtime/rq-simd.wasm',
];

addEventListener('install', (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)));
  skipWaiting();
});

addEventListener('activate', (event) => event.waitUntil(clients.claim()));

addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== location.origin || url.pathname.endsWith('.rq')) return;
  const answer = async () => {
    const cache = await caches.open(CACHE);
    try {
      const response = await fetch(request);
      if (response.ok) event.waitUntil(cache.put(request, response.clone()));
      return response;
    } catch (error) {
      return (await cache.match(request, { ignoreSearch: true })) ?? Promise.reject(error);
    }
  };
  event.respondWith(answer());
});
