// The dashboard: asks the analytics API with the visitor's own key and draws the answers. No library, no other host.

const KEY = "parkpal.key";
const STEPS = 5;
const LAYERS = {
  presences: { told: (n) => `${n} presences`, of: (cell) => cell.presences },
  p50: { told: seconds, of: (cell) => cell.search?.p50.value_s },
  p90: { told: seconds, of: (cell) => cell.search?.p90.value_s },
  searched: { told: percent, of: (cell) => opposite(cell.search?.share_no_search) },
};

const byId = (id) => document.getElementById(id);
let shown = null;

class Refused extends Error {}

async function ask(path, parameters = {}, accept = "application/json") {
  const given = Object.entries(parameters).filter(([, value]) => value);
  const answer = await fetch(`${path}?${new URLSearchParams(given)}`, {
    headers: { authorization: `Bearer ${sessionStorage.getItem(KEY)}`, accept },
  });
  const body = await answer.json();
  if (answer.ok) return body;
  if (answer.status === 401) sessionStorage.removeItem(KEY);
  throw new Refused([body.title, body.detail].filter(Boolean).join(" "));
}

async function load() {
  const period = readPeriod();
  const geo = "application/geo+json";
  const [cells, drives, zones, searches, fences] = await Promise.all([
    ask("/v1/analytics/cells", period, geo),
    ask("/v1/analytics/search-times", { ...period, by: "cell" }, geo),
    ask("/v1/zones", period),
    ask("/v1/analytics/search-times", period),
    ask("/v1/geofences").catch((error) => { if (error instanceof Refused) return { features: [] }; throw error; }),
  ]);
  return { cells, drives, zones, searches, fences: fences.features };
}

function readPeriod() {
  const form = new FormData(byId("question"));
  const instant = (name) => form.get(name) && new Date(form.get(name)).toISOString();
  return { from: instant("from"), to: instant("to") };
}

async function show() {
  byId("trouble").hidden = true;
  const open = sessionStorage.getItem(KEY) !== null;
  byId("door").hidden = open;
  byId("question").hidden = !open;
  if (!open) return;
  try {
    shown = await load();
    document.querySelector("main").hidden = false;
    drawPeriod();
    drawFacts();
    drawMap();
    drawSearch();
    listZones();
    drawTraffic();
  } catch (error) {
    byId("trouble").textContent = error instanceof Refused ? error.message : `The server did not answer: ${error.message}`;
    byId("trouble").hidden = false;
    byId("door").hidden = sessionStorage.getItem(KEY) !== null;
  }
}

// -- what the data is -------------------------------------------------------------------------------------------------

function drawPeriod() {
  const form = byId("question");
  form.elements.from.value ||= localText(shown.cells.from);
  form.elements.to.value ||= localText(shown.cells.to);
}

function localText(instant) {
  const at = new Date(instant);
  return new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

function drawFacts() {
  const { freshness, k, suppressed } = shown.cells;
  const late = average(shown.cells.features.map((cell) => cell.properties.late_share));
  fill(byId("facts"), [
    fact("Data up to", new Date(freshness.data_through).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })),
    fact("Times in", Intl.DateTimeFormat().resolvedOptions().timeZone),
    fact("Shown with at least", `${k.devices} phones and ${k.contributions} contributions`),
    fact("Withheld for fewer", `${suppressed} quarter-hours of a cell`),
    fact("Arrived late", percent(late)),
  ]);
}

function fact(name, value) {
  return make("li", {}, [`${name} `, make("b", {}, [String(value)])]);
}

// -- map --------------------------------------------------------------------------------------------------------------

function drawMap() {
  const layer = LAYERS[byId("layer").value];
  const cells = [...collectCells(Number(byId("hour").value)).values()].filter((cell) => layer.of(cell) != null);
  const known = new Set(cells.map((cell) => cell.id));
  const all = [...collectCells(-1).values()];
  const svg = byId("map");
  // One view for all layers and hours, so that a place stays where it is.
  const project = projection([...all.map((cell) => cell.ring), ...shown.fences.flatMap(ringsOf)], svg.clientWidth, svg.clientHeight);
  const bounds = steps(cells.map(layer.of));
  const shapes = cells.map((cell) => {
    const step = bounds.findLastIndex((bound) => layer.of(cell) >= bound);
    const shape = path("cell", cell.ring, project);
    shape.style.fill = `var(--scale-${Math.max(0, step)})`;
    shape.append(draw("title", {}, [`${layer.told(layer.of(cell))}, cell ${cell.id}`]));
    return shape;
  });
  const withheld = all.filter((cell) => !known.has(cell.id)).map((cell) => path("withheld", cell.ring, project));
  const zones = shown.fences.flatMap((fence) => ringsOf(fence).map((ring) => {
    const outline = path("zone", ring, project);
    outline.append(draw("title", {}, [fence.properties.name || fence.properties.fence_id]));
    return outline;
  }));
  const empty = cells.length ? [] : [draw("text", { x: 20, y: 30 }, ["Too few devices for any cell in this period."])];
  fill(svg, [...withheld, ...shapes, ...zones, ...empty, ...scaleBar(project)]);
  fill(byId("legend"), bounds.map((bound, step) => {
    const colour = make("i");
    colour.style.background = `var(--scale-${step})`;
    return make("span", {}, [colour, `from ${layer.told(bound)}`]);
  }));
  byId("hour-told").value = byId("hour").value < 0 ? "all" : `${byId("hour").value}:00`;
}

function ringsOf(fence) {
  return fence.geometry.type === "MultiPolygon" ? fence.geometry.coordinates.flat() : fence.geometry.coordinates;
}

// Bins of a cell never overlap, so presences add up; quantiles do not, and the bin with the most drives speaks.
function collectCells(hour) {
  const cells = new Map();
  const at = (feature) => {
    const id = feature.properties.cell ?? feature.properties.place;
    if (!cells.has(id)) cells.set(id, { id, ring: feature.geometry.coordinates[0], presences: null, search: null });
    return cells.get(id);
  };
  const covers = (bin) => hour < 0 || (bin.bin_s <= 3600 && new Date(bin.bin_start).getHours() === hour);
  for (const feature of shown.cells.features.filter((one) => covers(one.properties))) {
    at(feature).presences += feature.properties.presences;
  }
  for (const feature of shown.drives.features.filter((one) => covers(one.properties))) {
    const cell = at(feature);
    if (!cell.search || feature.properties.drives > cell.search.drives) cell.search = feature.properties;
  }
  return cells;
}

function projection(rings, width, height) {
  const points = rings.flat();
  const [west, east] = extent(points.map(([lon]) => lon));
  const [south, north] = extent(points.map(([, lat]) => lat));
  const squeeze = Math.cos(((south + north) / 2) * (Math.PI / 180)) || 1;
  const spread = Math.max(((east - west) * squeeze) / width, (north - south) / height) * 1.1 || 1;
  const project = ([lon, lat]) => [
    width / 2 + ((lon - (west + east) / 2) * squeeze) / spread,
    height / 2 - (lat - (south + north) / 2) / spread,
  ];
  return Object.assign(project, { metresPerPixel: spread * 111195, width, height });
}

function scaleBar(project) {
  const length = 10 ** Math.floor(Math.log10(project.metresPerPixel * project.width * 0.3));
  const pixels = length / project.metresPerPixel;
  const y = project.height - 16;
  const told = length >= 1000 ? `${length / 1000} km` : `${length} m`;
  return [
    draw("line", { class: "scale", x1: 16, y1: y, x2: 16 + pixels, y2: y }),
    draw("text", { x: 16, y: y - 6 }, [told]),
  ];
}

function steps(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const bounds = Array.from({ length: STEPS }, (_, step) => sorted[Math.floor((step * sorted.length) / STEPS)]);
  return [...new Set(bounds.filter((bound) => bound !== undefined))];
}

// -- search times -----------------------------------------------------------------------------------------------------

function drawSearch() {
  const names = new Map(shown.zones.zones.map((zone) => [zone.zone_id, zone.name]));
  const rows = shown.searches.places.toSorted((a, b) => b.drives - a.drives || a.bin_start.localeCompare(b.bin_start));
  const longest = Math.max(60, ...rows.flatMap((row) => [row.p90.high_s ?? row.p90.value_s ?? 0]));
  const heads = ["Zone", "From", "Drives", "Median", "p90", "Searched", "Gave up"];
  const head = make("tr", {}, heads.map((text) => make("th", { scope: "col" }, [text])));
  const body = rows.map((row) => make("tr", {}, [
    cellOf(names.get(row.place) || row.place),
    cellOf(`${new Date(row.bin_start).toLocaleString([], { dateStyle: "short", timeStyle: "short" })}, ${span(row.bin_s)}`),
    cellOf(row.drives),
    make("td", {}, [quantileText(row.p50), interval(row.p50, longest)]),
    make("td", {}, [quantileText(row.p90), interval(row.p90, longest)]),
    cellOf(percent(opposite(row.share_no_search))),
    cellOf(percent(row.searchers.failed_search_rate)),
  ]));
  const none = make("tr", {}, [make("td", { colspan: heads.length }, ["Too few drives in any zone in this period."])]);
  fill(byId("search"), [make("thead", {}, [head]), make("tbody", {}, rows.length ? body : [none])]);
}

function quantileText(quantile) {
  return quantile.value_s == null ? `over ${seconds(quantile.low_s)}` : seconds(quantile.value_s);
}

function interval(quantile, longest) {
  const x = (value) => Math.min(100, (100 * value) / longest);
  const low = quantile.low_s ?? 0;
  const high = quantile.high_s ?? longest;
  const bar = draw("rect", { x: x(low), y: 3, width: Math.max(1, x(high) - x(low)), height: 6 });
  const mark = quantile.value_s == null ? [] : [draw("line", { x1: x(quantile.value_s), x2: x(quantile.value_s), y1: 0, y2: 12 })];
  const told = `95 %: ${seconds(low)} to ${quantile.high_s == null ? "not known" : seconds(high)}`;
  return draw("svg", { class: "interval", viewBox: "0 0 100 12", preserveAspectRatio: "none" }, [bar, ...mark, draw("title", {}, [told])]);
}

// -- traffic ----------------------------------------------------------------------------------------------------------

function listZones() {
  const busiest = shown.zones.zones.toSorted((a, b) => volume(b) - volume(a));
  const before = byId("zone").value;
  fill(byId("zone"), busiest.map((zone) => make("option", { value: zone.zone_id }, [zone.name || zone.zone_id])));
  if (busiest.some((zone) => zone.zone_id === before)) byId("zone").value = before;
}

function volume(zone) {
  return [...zone.entries, ...zone.exits].reduce((sum, bin) => sum + bin.count, 0);
}

// The axis spans what there is to show, not the whole period, in which an hour would be a line.
function drawTraffic() {
  const svg = byId("traffic");
  const zone = shown.zones.zones.find((one) => one.zone_id === byId("zone").value);
  const bins = zone ? [...zone.entries, ...zone.exits] : [];
  const most = Math.max(...bins.map(rate), 0);
  byId("traffic-legend").hidden = !most;
  if (!most) {
    fill(svg, [draw("text", { x: 0, y: 20 }, ["Too few entries and exits in this period."])]);
    return;
  }
  const [width, height, foot, left] = [svg.clientWidth, svg.clientHeight, 24, 64];
  const begin = Math.min(...bins.map((bin) => Date.parse(bin.bin_start)));
  const end = Math.max(...bins.map((bin) => Date.parse(bin.bin_start) + bin.bin_s * 1000));
  const middle = (height - foot) / 2;
  const x = (at) => left + ((at - begin) / (end - begin)) * (width - left);
  const bars = (list, name, up) => list.map((bin) => {
    const at = Date.parse(bin.bin_start);
    const tall = (rate(bin) / most) * (middle - 8);
    const bar = draw("rect", {
      class: name, x: x(at), y: up ? middle - tall : middle, width: Math.max(1, x(at + bin.bin_s * 1000) - x(at) - 1), height: tall,
    });
    bar.append(draw("title", {}, [`${bin.count} ${name} in ${span(bin.bin_s)} from ${new Date(at).toLocaleString()}`]));
    return bar;
  });
  const level = (y, told) => [
    draw("line", { x1: left, x2: width, y1: y, y2: y }),
    draw("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, [told]),
  ];
  const highest = `${Math.round(most * 3600)} / h`;
  fill(svg, [
    ...level(8, highest), ...level(middle, "0"), ...level(2 * middle - 8, highest),
    ...bars(zone.entries, "entries", true),
    ...bars(zone.exits, "exits", false),
    ...ticks(begin, end, x, height - 6),
  ]);
}

function rate(bin) {
  return bin.count / bin.bin_s;
}

function ticks(begin, end, x, y) {
  const day = end - begin > 86400000 ? { month: "short", day: "numeric" } : {};
  return Array.from({ length: 5 }, (_, i) => begin + (i * (end - begin)) / 4).map((at, i) =>
    draw("text", { x: x(at), y, "text-anchor": ["start", "end"][[0, 4].indexOf(i)] ?? "middle" }, [
      new Date(at).toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit" }),
    ]));
}

// -- words and shapes -------------------------------------------------------------------------------------------------

function seconds(value) {
  if (value == null) return "not known";
  return value < 120 ? `${Math.round(value)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

function span(binSeconds) {
  const units = [[604800, "week"], [86400, "day"], [3600, "h"], [60, "min"]];
  const [size, name] = units.find(([one]) => binSeconds >= one);
  return `${binSeconds / size} ${name}`;
}

function percent(share) {
  return share == null ? "not known" : `${Math.round(share * 100)} %`;
}

function opposite(share) {
  return share == null ? null : 1 - share;
}

function average(values) {
  const known = values.filter((value) => value != null);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
}

function extent(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

function cellOf(value) {
  return make("td", {}, [String(value)]);
}

function path(name, ring, project) {
  return draw("path", { class: name, d: `M${ring.map((point) => project(point).map((n) => n.toFixed(1)).join()).join("L")}Z` });
}

function make(name, attributes = {}, children = []) {
  return complete(document.createElement(name), attributes, children);
}

function draw(name, attributes = {}, children = []) {
  return complete(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function complete(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function fill(element, children) {
  element.replaceChildren(...children);
}

// -- what the visitor does --------------------------------------------------------------------------------------------

byId("door").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, new FormData(event.target).get("key").trim());
  event.target.reset();
  show();
});
byId("question").addEventListener("submit", (event) => { event.preventDefault(); show(); });
byId("leave").addEventListener("click", () => { sessionStorage.removeItem(KEY); location.reload(); });
byId("layer").addEventListener("change", drawMap);
byId("hour").addEventListener("input", drawMap);
byId("zone").addEventListener("change", drawTraffic);
addEventListener("resize", () => { if (shown) { drawMap(); drawTraffic(); } });

// A link may carry the key behind its #, which no server is sent; it leaves the address bar at once.
const carried = new URLSearchParams(location.hash.slice(1)).get("key");
if (carried) {
  sessionStorage.setItem(KEY, carried);
  history.replaceState(null, "", location.pathname);
}
show();
