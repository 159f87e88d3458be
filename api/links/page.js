// What a printed code or a letter leads to: names the place, and does one thing there as who is signed in.

const byId = (id) => document.getElementById(id);
const [, kind, id] = location.pathname.split("/");
let token = null;

class Refused extends Error {
  constructor(problem) {
    super(problem.detail || problem.title);
    this.problem = problem;
  }
}

async function send(method, path, body) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  if (method === "POST") headers["idempotency-key"] = attempt(path, body);
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  const read = answer.status === 204 ? {} : await answer.json();
  if (!answer.ok) throw new Refused(read);
  return read;
}

// The same attempt keeps its key, so that a tap that seemed to fail does not happen twice.
const attempts = new Map();
function attempt(path, body) {
  const what = path + JSON.stringify(body);
  if (!attempts.has(what)) attempts.set(what, Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-"));
  return attempts.get(what);
}

async function enter(path, body) {
  token = (await send("POST", path, body)).access_token;
}

const show = (...ids) => {
  for (const one of ["door", "walk-up", "extension", "done", "trouble"]) byId(one).hidden = !ids.includes(one);
};
const clock = (instant) => new Date(instant).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" });

function finish(text) {
  byId("done").textContent = text;
  show("done");
}

async function open() {
  if (kind === "p") {
    const space = await send("GET", `/v1/walk-ups/${id}`);
    byId("space").textContent = [space.name, space.bay].filter(Boolean).join(", ");
    if (space.photo) byId("photo").src = space.photo.url;
    byId("photo").hidden = !space.photo;
    show("walk-up");
  } else {
    const booking = await send("GET", `/v1/bookings/${id}`);
    byId("stay").textContent = booking.place.name;
    byId("until").textContent = clock(booking.stay_ends_at);
    byId("until").dateTime = booking.stay_ends_at;
    show("extension");
  }
}

async function arrive(form) {
  const plate = form.plate.value.toUpperCase().replaceAll(/[^A-Z0-9]/g, "");
  const until = new Date(Math.ceil(Date.now() / 6e4) * 6e4 + form.hours.value * 36e5).toISOString();
  const stay = await send("POST", "/v1/walk-ups", {
    space_id: id, ends_at: until, vehicle: { plate, kind: form.kind.value },
  });
  finish(`You stand here until ${clock(stay.ends_at)}${stay.place.bay ? `, on ${stay.place.bay}` : ""}.`);
}

async function extend(hours) {
  const end = new Date(Date.parse(byId("until").dateTime) + hours * 36e5).toISOString();
  const more = await send("POST", `/v1/bookings/${id}/extend`, { ends_at: end });
  if (more.status === "RESERVED") return finish(`You may stay until ${clock(more.ends_at)}.`);
  location.href = await checkout(more.booking_id);
}

async function checkout(booking) {
  for (const provider of ["paymongo", "stripe"]) {
    try {
      return (await send("POST", `/v1/bookings/${booking}/checkout`, { provider })).checkout_url;
    } catch (error) {
      if (!error.problem?.type.endsWith("cannot-pay") || provider === "stripe") throw error;
    }
  }
}

// Whatever a person sets off: a refusal is told, and the page stays as it is.
async function attend(work) {
  byId("trouble").hidden = true;
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const latest = error.problem.facts?.latest_end;
    byId("trouble").textContent = error.message + (latest ? ` It is free until ${clock(latest)}.` : "");
    byId("trouble").hidden = false;
  }
}

byId("door").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target.elements;
  const credentials = { contact: form.contact.value, password: form.password.value, keep: "cookie" };
  attend(async () => {
    attempts.clear();
    await enter("/v1/auth/sign-in", credentials);
    await open();
  });
});
byId("arrival").addEventListener("submit", (event) => {
  event.preventDefault();
  attend(() => arrive(event.target.elements));
});
for (const button of document.querySelectorAll("#extension button")) {
  button.addEventListener("click", () => attend(() => extend(Number(button.dataset.hours))));
}

try {
  await enter("/v1/auth/refresh", {});
  await attend(open);
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  show("door");
}
