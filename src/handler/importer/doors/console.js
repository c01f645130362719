"use strict";
// Rule: whatever a file, a row or a name holds is put in as text, by `text`; nothing here makes markup of a string.
// The token stands in sessionStorage and in the Authorization header of requests to this door, nowhere else.

const $ = id => document.getElementById(id);
const ROOT = location.pathname.replace(/\/console\/?$/, "");
const KEPT = "importer-token";
const NEVER_SHOWN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]/g;
const FORM_SECONDS = 900;

let token = "", me = null, chosen = null, sending = null, list = null, one = null;

// ---- Small things

/** Text as it can be read: marks that would turn or hide what stands beside them are spelt out. */
const text = value =>
  String(value).replace(NEVER_SHOWN, mark => "\\u" + mark.charCodeAt(0).toString(16).padStart(4, "0"));

function el(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) made.append(child instanceof Node ? child : text(child));
  }
  return made;
}

function put(parent, ...children) {
  parent.replaceChildren(...children.flat().filter(child => child !== null && child !== undefined)
    .map(child => child instanceof Node ? child : text(child)));
}

/** Changes a text only where it is another, so that nothing is read out twice. */
function tell(element, value) {
  const wanted = text(value);
  if (element.textContent !== wanted) element.textContent = wanted;
}

const say = value => tell($("says"), value);
const number = value => value === null || value === undefined ? "" : Number(value).toLocaleString("en");
const many = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const time = ms => ms === null || ms === undefined || Math.abs(ms) > 8.64e15 ? ""
  : new Date(ms).toISOString().slice(0, 19).replace("T", " ") + " UTC";

function bytes(count) {
  let value = count;
  for (const unit of ["bytes", "KB", "MB", "GB"]) {
    if (value < 1000 || unit === "GB") return `${unit === "bytes" ? number(value) : value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
}

function span(ms) {
  if (ms === null || ms === undefined) return "";
  const s = ms / 1000;
  return s < 60 ? `${s.toFixed(1)} s` : s < 3600 ? `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`
    : `${Math.floor(s / 3600)} h ${Math.round(s % 3600 / 60)} min`;
}

const may = (right, importId) => ["*", importId].some(id => {
  const rights = Object.hasOwn(me.scopes, id) ? me.scopes[id] : [];
  return rights.includes(right) || rights.includes("admin");
});
const mayAnywhere = right => Object.keys(me.scopes).some(id => may(right, id));
const wait = ms => new Promise(done => setTimeout(done, ms));
const seen = () => document.hidden
  ? new Promise(done => document.addEventListener("visibilitychange", done, { once: true })) : Promise.resolve();

// ---- Requests

class Trouble extends Error {
  constructor(words, status, code) { super(words); this.status = status; this.code = code; }
  get passes() { return this.status === 0 || this.status === 429 || this.status >= 500; }
}

/** What the door answers: `{said, tag}`, or `{same: true}` where it is what `tag` stands for. Throws Trouble. */
async function api(method, path, { body, tag } = {}) {
  const asWho = token;
  const headers = { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (tag) headers["If-None-Match"] = tag;
  let response, said = null;
  try {
    response = await fetch(ROOT + path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "omit",
      cache: "no-store", redirect: "error", referrerPolicy: "no-referrer", signal: AbortSignal.timeout(40000),
    });
    const whole = await response.text();
    try { said = JSON.parse(whole); } catch { /* told below */ }
  } catch {
    throw new Trouble("The importer cannot be reached. Is there a network?", 0);
  }
  if (response.status === 304) return { same: true };
  if (response.status === 401) {
    if (asWho === token) leave("This token is not valid, or not any more. Enter another; nothing else is lost.");
    throw new Trouble("The token is not valid.", 401, "unauthorized");
  }
  if (response.status === 429) throw new Trouble("Too many requests at once: wait some seconds.", 429);
  if (!response.ok || said === null) {
    throw new Trouble(said?.detail ?? `The importer answers ${response.status}, and does not say why.`,
      response.ok ? 500 : response.status, said?.code);
  }
  return { said, tag: response.headers.get("ETag") };
}

const importPath = importId =>
  `/v1/datamarts/${encodeURIComponent(me.datamart_id)}/document_imports/${encodeURIComponent(importId)}`;

/** Asks again and again, sooner while things change; not while nobody sees the page. `look` says whether they did. */
function poller(look, least, most) {
  let pause = least, timer = 0, asking = false, stopped = true;
  async function turn() {
    clearTimeout(timer);
    if (stopped || asking || document.hidden) return;
    asking = true;
    try {
      pause = await look() ? least : Math.min(pause * 1.5, most);
      tell($("offline"), "");
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) throw trouble;
      if (trouble.status === 401) stopped = true;
      pause = Math.min(pause * 2, most * 2);
      if (trouble.passes) tell($("offline"), `${trouble.message} Trying again in ${Math.ceil(pause / 1000)} s.`);
    } finally {
      asking = false;
    }
    if (!stopped) timer = setTimeout(turn, pause);
  }
  document.addEventListener("visibilitychange", () => { pause = least; turn(); });
  addEventListener("online", () => { pause = least; turn(); });
  return {
    start() { stopped = false; pause = least; turn(); },
    stop() { stopped = true; clearTimeout(timer); },
  };
}

/** Posts a file by a signed form, straight to the bucket. Throws Trouble; `Stopped` where a person said so. */
function post(form, file, what) {
  return new Promise((done, failed) => {
    const data = new FormData();
    for (const [name, value] of Object.entries(form.fields)) data.append(name, value);
    data.append("file", file);
    const request = new XMLHttpRequest();
    sending = request;
    $("upload").hidden = false;
    const bar = $("upload-bar");
    bar.max = Math.max(file.size, 1);
    bar.value = 0;
    tell($("upload-text"), `${what}: ${bytes(file.size)}`);
    request.upload.onprogress = event => {
      bar.value = Math.min(event.loaded, file.size);
      tell($("upload-text"), `${what}: ${bytes(bar.value)} of ${bytes(file.size)}`);
    };
    const end = trouble => {
      sending = null;
      $("upload").hidden = true;
      trouble ? failed(trouble) : done();
    };
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) return end();
      const code = /<Code>(\w+)<\/Code>/.exec(request.responseText)?.[1];
      const why = { EntityTooLarge: `it may have ${bytes(form.max_bytes)} at most`, AccessDenied: "the form has run out" };
      end(new Trouble(`The bucket did not take the file: ${why[code] ?? code ?? request.status}. Try it again.`, 400));
    };
    request.onerror = () => end(new Trouble("The upload was cut off. Try it again: nothing was imported.", 0));
    request.onabort = () => end(new Trouble("Stopped: nothing was imported.", 400, "stopped"));
    request.open("POST", form.url);
    request.send(data);
  });
}

// ---- The token

async function enter(given, typed = false) {
  token = given;
  const { said } = await api("GET", "/v1/token");
  if (me && me.id !== said.data.id) forgetShown(); // another's rights: what it may not see must not stand here
  me = said.data;
  sessionStorage.setItem(KEPT, token);
  tell($("token-error"), "");
  $("token").value = "";
  $("enter").hidden = true;
  tell($("who"), `Token: ${me.name}`);
  $("account").hidden = false;
  $("work").hidden = false;
  if (typed) $("main").focus(); // before the rest is asked for: whoever is quick is elsewhere by then
  await begin();
}

function leave(why) {
  token = "";
  sessionStorage.removeItem(KEPT);
  listing.stop();
  watching.stop();
  $("account").hidden = true;
  $("work").hidden = true;
  $("enter").hidden = false;
  answer?.(false);
  tell($("token-error"), why);
  $("token").focus();
}

$("token-form").addEventListener("submit", async event => {
  event.preventDefault();
  const given = $("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) {
    tell($("token-error"), "Enter the token as it was shown: letters, digits and a dot.");
    return $("token").focus();
  }
  $("token-go").disabled = true;
  tell($("token-error"), "");
  try {
    await enter(given, true);
    say(`Entered as ${me.name}.`);
  } catch (trouble) {
    if (trouble.status !== 401) tell($("token-error"), trouble.message);
  } finally {
    $("token-go").disabled = false;
  }
});
$("leave").addEventListener("click", () => { leave(""); forgetAll(); say("The token is forgotten."); });

function forgetAll() {
  forgetShown();
  me = null;
  choose(null);
  history.replaceState(null, "", location.pathname);
}

function forgetShown() {
  list = one = null;
  for (const id of ["rows", "findings", "one-facts", "one-receipt", "one-undo", "one-actions"]) put($(id));
  $("one").hidden = $("preview").hidden = true;
}

async function begin() {
  const writes = mayAnywhere("write"), reads = mayAnywhere("read");
  $("import-form").hidden = !writes;
  $("may-not-write").hidden = writes;
  $("filter").hidden = $("more").hidden = !reads;
  document.querySelector("#all .scroll").hidden = !reads;
  $("may-not-read").hidden = reads;
  const whose = me, names = new Map([["default", "default: files that no definition is for"]]);
  for (const id of Object.keys(me.scopes)) if (id !== "*" && id !== "default") names.set(id, id);
  const options = right => [...names].filter(([id]) => may(right, id)).map(([id, name]) => el("option", { value: id }, name));
  const keep = (select, ...wanted) => {
    const before = select.value;
    put(select, ...wanted);
    if (wanted.flat().some(option => option.value === before)) select.value = before;
  };
  const fill = () => {
    keep($("into"), options("write"));
    keep($("of-import"), el("option", { value: "" }, "any"), options("read"));
    buttons();
  };
  fill();
  if (!reads) return;
  list = list || emptyList();
  listing.start();
  opened();
  const path = importPath("").slice(0, -1);
  for (let first = 0, pause = 2000; me === whose && token;) {
    try {
      const { said } = await api("GET", `${path}?max_results=500&first_result=${first}`);
      for (const { id, name } of said.data) names.set(id, name && name !== id ? `${id}: ${name}` : id);
      first += said.count;
      if (!said.count || first >= said.total) break;
    } catch (trouble) {
      if (!(trouble instanceof Trouble) || !trouble.passes) throw trouble;
      await wait(pause = Math.min(pause * 2, 60000));
    }
  }
  if (me === whose) fill();
}

// ---- A file: chosen, looked at, sent

function choose(file) {
  chosen = file;
  $("preview").hidden = true;
  tell($("import-error"), "");
  tell($("chosen"), file ? `${file.name}, ${bytes(file.size)}` : "");
  buttons();
  if (document.activeElement.disabled) $("file").focus(); // else a file that is empty takes the focus away
}

function buttons() {
  const importId = $("into").value, ready = chosen && chosen.size > 0 && !sending && me && may("write", importId);
  $("look").disabled = !ready || !may("read", importId);
  $("straight").disabled = !ready;
  if (chosen && chosen.size === 0) tell($("import-error"), "This file is empty.");
}

$("file").addEventListener("change", () => choose($("file").files[0] ?? null));
$("into").addEventListener("change", () => { $("preview").hidden = true; buttons(); });
for (const kind of ["dragover", "drop", "dragleave"]) {
  addEventListener(kind, event => {
    if (![...event.dataTransfer?.types ?? []].includes("Files")) return;
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    if (kind !== "drop" || $("work").hidden || working) return;
    const files = [...event.dataTransfer.files];
    if (!files.length) return;
    $("file").value = "";
    choose(files[0]);
    $("import").scrollIntoView();
    ([$("look"), $("straight")].find(button => !button.disabled) ?? $("file")).focus();
    if (files.length > 1) tell($("import-error"), `One file at a time: the first of ${files.length} was taken.`);
  });
}
$("stop").addEventListener("click", () => sending?.abort());
$("drop-it").addEventListener("click", () => { $("file").value = ""; choose(null); $("file").focus(); say("It was not imported."); });
$("straight").addEventListener("click", () => work(send, $("straight")));
$("confirm").addEventListener("click", () => work(send, $("confirm")));
$("import-form").addEventListener("submit", event => { event.preventDefault(); if (!$("look").disabled) work(look, $("look")); });
addEventListener("beforeunload", event => { if (sending) event.preventDefault(); });

let working = false;
/** One thing at a time with the chosen file; what goes wrong with it is told beside it. */
async function work(act, button) {
  if (working) return;
  working = true;
  tell($("import-error"), "");
  for (const id of ["look", "straight", "confirm", "file", "into"]) $(id).disabled = true;
  try {
    await act(chosen, $("into").value);
  } catch (trouble) {
    if (!(trouble instanceof Trouble)) throw trouble;
    if (trouble.status !== 401) tell($("import-error"), trouble.message);
  } finally {
    working = false;
    for (const id of ["confirm", "file", "into"]) $(id).disabled = false;
    buttons();
    if (document.activeElement === document.body && button.offsetParent) button.focus();
  }
}

async function look(file, importId) {
  $("preview").hidden = true;
  const form = (await api("POST", `${importPath(importId)}/previews`, { body: { file_name: file.name } })).said.data;
  const all = file.size <= form.max_bytes;
  await post(form, all ? file : file.slice(0, form.max_bytes), "Sending it to be looked at");
  say("Sent. It is being looked at.");
  const until = Date.now() + 180000;
  for (let pause = 500; ; pause = Math.min(pause * 1.4, 5000)) {
    const found = (await passing(api("GET", form.result)))?.said.data;
    if (found) { showFindings(found, file, importId, all); break; }
    if (Date.now() > until) throw new Trouble("Nobody has looked at it yet. Try again, or import it without a preview.", 503);
    await wait(pause);
    await seen();
  }
}

/** What is asked for, or nothing where the trouble with it may pass by itself. */
const passing = asking => asking.catch(trouble => {
  if (!(trouble instanceof Trouble) || !trouble.passes) throw trouble;
});

function facts(pairs) {
  return pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined)
    .map(([name, value]) => el("div", { class: value.nodeName === "CODE" ? "wide" : null }, el("dt", {}, name), el("dd", {}, value)));
}

/** Reasons folded: one line each; what is behind it opens. */
function reasons(groups) {
  return groups.map(group => el("details", {},
    el("summary", {}, el("strong", { class: "bad" }, number(group.count)), ` × ${group.code}`,
      group.field ? ` · ${group.field}` : "", group.first_line ? el("span", { class: "quiet" }, ` first in line ${number(group.first_line)}`) : null),
    el("ul", {}, group.samples.map(sample => el("li", {},
      sample.line ? `Line ${number(sample.line)}: ` : "", sample.message, sample.hint ? ` (${sample.hint})` : "")))));
}

function showFindings(found, file, importId, all) {
  const rows = number(found.rows), whole = found.complete && all;
  const title = found.error ? `${file.name} would be refused` : `Preview of ${file.name}`;
  tell($("preview-title"), title);
  const names = Object.entries(found.event_names ?? {}).sort((a, b) => b[1] - a[1]);
  const isNew = new Set(found.new?.event_names ?? []);
  const firsts = (found.first_events ?? []).slice(0, 5);
  const clashes = found.clashes ?? [];
  put($("findings"),
    found.error ? el("p", { class: "bad" }, `${found.error.code}: ${found.error.message}`) : null,
    found.error ? null : el("p", {}, whole ? `All ${rows} rows were looked at.` : `Its first ${many(found.rows, "row")} were looked at.`),
    el("dl", { class: "facts" }, facts([
      ["Dialect", found.format], ["Good rows", number(found.good)], ["Refused rows", found.bad ? el("span", { class: "bad" }, number(found.bad)) : "0"],
      ["Events", number(found.events)], ["Changes of users", number(found.user_changes)],
      ["From", time(found.earliest_ms)], ["To", time(found.latest_ms)],
      ["Would cost about", whole && found.cost ? `$${found.cost.usd.toPrecision(2)}` : ""],
    ])),
    found.diagnosis ? el("p", {}, words(found.diagnosis)) : null,
    found.reasons?.length ? el("h4", {}, "Why rows would be refused") : null,
    reasons(found.reasons ?? []),
    clashes.length ? el("h4", {}, "Properties whose type is not the same everywhere") : null,
    clashes.length ? el("ul", {}, clashes.slice(0, 20).map(clash => el("li", {},
      `${clash.name}: ${clash.types.join(", ")}`, clash.stored?.length ? `; in the store: ${clash.stored.join(", ")}` : ""))) : null,
    names.length ? el("details", {}, el("summary", {}, many(names.length, "name"), " of events"),
      el("ul", {}, names.slice(0, 100).map(([name, count]) => el("li", {}, `${name}: ${number(count)}`, isNew.has(name) ? " (new)" : "")))) : null,
    firsts.length ? el("details", {}, el("summary", {}, "First events"),
      el("ul", {}, firsts.map(event => el("li", {}, `${event.event_name}, ${time(event.event_time_ts)}: `,
        el("code", {}, JSON.stringify(event.properties).slice(0, 500)))))) : null);
  tell($("confirm"), `Import ${file.name}`);
  $("confirm").hidden = Boolean(found.error);
  $("preview").hidden = false;
  $("preview-title").focus();
  say(found.error ? title : `${title}: ${number(found.good)} good, ${number(found.bad)} would be refused.`);
}

/** A diagnosis in whatever shape it comes. */
const words = said => typeof said === "string" ? said : said?.message ?? Object.values(said ?? {}).filter(v => typeof v === "string").join(" ");

async function send(file, importId) {
  const form = (await api("POST", `${importPath(importId)}/uploads`, { body: { file_name: file.name } })).said.data;
  if (file.size > form.max_bytes) {
    throw new Trouble(`It has ${bytes(file.size)}, and ${bytes(form.max_bytes)} can be sent so: use \`importer import\`.`, 400);
  }
  await post(form, file, "Sending it to be imported");
  $("file").value = "";
  choose(null);
  $("file").focus();
  if (!may("read", importId)) return say(`${file.name} is sent. This token may not look at what becomes of it.`);
  say(`${file.name} is sent. Waiting for its import to begin.`);
  follow(form, file.name, importId).catch(trouble => {
    if (!(trouble instanceof Trouble)) throw trouble;
    say(trouble.message);
  });
}

let followed = 0;
/** Opens what becomes of a file, unless a person has turned to something else since. */
async function follow(form, fileName, importId) {
  const mine = ++followed, whose = me;
  const from = Date.parse(form.expires) - FORM_SECONDS * 1000 - 1000;
  const path = `/v1/executions?max_results=1&created_from=${from}&import_id=${encodeURIComponent(importId)}&key=${encodeURIComponent(form.key)}`;
  const until = Date.now() + 600000;
  for (let pause = 500, told = false; Date.now() < until && me === whose && token; pause = Math.min(pause * 1.3, 15000)) {
    const found = (await passing(api("GET", path)))?.said.data[0];
    if (found && !told && mine === followed && !chosen && !answer) return open(found.id);
    if (found) return say(`${fileName}: its import has begun, and is seen below.`);
    if (!told && Date.now() > until - 570000) {
      told = true;
      say(`${fileName} is sent and has not begun: it will be seen below. Files of a recurring import wait for its run.`);
    }
    await wait(pause);
    await seen();
  }
}

// ---- All executions

function emptyList() { return { byId: new Map(), cursor: null, older: false, tag: null, empty: false }; }

const listPath = cursor => "/v1/executions?max_results=50" +
  ($("of-import").value ? `&import_id=${encodeURIComponent($("of-import").value)}` : "") +
  ($("of-status").value ? `&status=${$("of-status").value}` : "") + (cursor ? `&cursor=${cursor}` : "");

const listing = poller(async () => {
  const into = list, { said, tag, same } = await api("GET", listPath(), { tag: list.tag });
  if (same || into !== list) return false;
  list.tag = tag;
  if (!list.older) list.cursor = said.cursor;
  // With a filter, what has left it since is no more of the list.
  const last = said.data.at(-1)?.creation_date ?? -1;
  const here = new Set(said.data.map(execution => execution.id));
  for (const [id, known] of list.byId) {
    if (!here.has(id) && (said.cursor === null || known.creation_date > last)) list.byId.delete(id);
  }
  showRows(said.data);
  return said.data.some(unfinished);
}, 3000, 30000);

const unfinished = execution => execution.phase !== "CLOSED";

function cells(execution) {
  const result = execution.result, refused = result?.total_failure;
  const name = execution.parameters.input_file_name;
  const parts = execution.num_tasks > 1 && unfinished(execution) ? ` (${execution.completed_tasks} of ${execution.num_tasks} parts)` : "";
  return [name, String(execution.parameters.document_import_id), `${execution.status}${parts}`, result ? number(result.total_success) : "",
    result ? number(refused) : "", time(execution.start_date ?? execution.creation_date), span(execution.duration)];
}

const NAMES = [null, "Import", "Status", "Good rows", "Refused", "Began", "Took"];
const CLASSES = ["", "", "status", "number", "number", "time", "number time"];

function rowOf(execution) {
  const button = el("button", { class: "link", type: "button", click: () => open(execution.id) });
  const row = el("tr", { "data-id": execution.id, role: "row" }, el("th", { scope: "row", role: "rowheader" }, button),
    CLASSES.slice(1).map((kind, at) => el("td", { class: kind, role: "cell", "data-name": NAMES[at + 1] })));
  return row;
}

function showRows(executions) {
  for (const execution of executions) list.byId.set(execution.id, execution);
  const rows = new Map([...$("rows").children].map(row => [row.dataset.id, row]));
  const wanted = [...list.byId.values()].sort((a, b) => b.creation_date - a.creation_date || (a.id < b.id ? 1 : -1));
  let before = $("rows").firstElementChild;
  for (const execution of wanted) {
    let row = rows.get(execution.id);
    rows.delete(execution.id);
    if (!row) row = rowOf(execution);
    cells(execution).forEach((value, at) => tell(at ? row.children[at] : row.firstElementChild.firstElementChild, value));
    row.children[2].className = `status ${execution.status}`;
    row.children[4].classList.toggle("bad", Boolean(execution.result?.total_failure));
    row.classList.toggle("open", one?.id === execution.id);
    if (row === before) before = before.nextElementSibling;
    else $("rows").insertBefore(row, before);
  }
  for (const row of rows.values()) row.remove();
  const filtered = $("of-import").value || $("of-status").value;
  tell($("none"), wanted.length ? "" : list.cursor ? "None among the latest." : filtered ? "None like this." : "Nothing has been imported yet.");
  $("more").hidden = !list.cursor;
}

$("more").addEventListener("click", async () => {
  const into = list;
  $("more").disabled = true;
  try {
    const { said } = await api("GET", listPath(list.cursor));
    if (into !== list) return;
    const known = new Set(list.byId.keys());
    list.cursor = said.cursor;
    list.older = true;
    showRows(said.data);
    const fresh = said.data.find(execution => !known.has(execution.id));
    say(fresh ? `${many(said.count, "execution")} more.` : list.cursor ? "None among these: there may be older ones." : "There are no older ones.");
    const row = fresh && [...$("rows").children].find(each => each.dataset.id === fresh.id);
    row?.querySelector("button").focus();
  } catch (trouble) {
    if (!(trouble instanceof Trouble)) throw trouble;
    say(trouble.message);
  } finally {
    $("more").disabled = false;
  }
});
for (const id of ["of-import", "of-status"]) {
  $(id).addEventListener("change", () => { list = emptyList(); put($("rows")); tell($("none"), "Looking…"); listing.start(); });
}
$("filter").addEventListener("submit", event => event.preventDefault());

// ---- One execution

function opened() {
  const id = /^#execution=([0-9a-f]{32})$/.exec(location.hash)?.[1];
  if (id) open(id, false);
  else if (one && !$("one").hidden) close();
}
addEventListener("hashchange", () => {
  const given = fragmentToken();
  if (given) return void enter(given).catch(() => {});
  if (me && token && location.hash !== "#main") opened();
});
$("skip").addEventListener("click", event => { event.preventDefault(); $("main").focus(); });

function open(id, focus = true) {
  if (one?.id !== id || $("one").hidden) {
    one = { id, tag: null, data: null, undo: undefined };
    for (const part of ["one-facts", "one-receipt", "one-undo", "one-actions"]) put($(part));
    tell($("one-error"), "");
    tell($("one-title"), "An execution");
    $("one-progress").hidden = true;
    $("one").hidden = false;
    if (location.hash !== `#execution=${id}`) history.pushState(null, "", `#execution=${id}`);
    for (const row of $("rows").children) row.classList.toggle("open", row.dataset.id === id);
    if (!list.byId.has(id)) listing.start(); // one that has begun just now: closed, it leaves the focus to its row
  }
  watching.start();
  if (focus) {
    $("one-title").focus({ preventScroll: true });
    $("one").scrollIntoView({ block: "start" });
  }
}

function close() {
  const id = one.id;
  watching.stop();
  one = null;
  $("one").hidden = true;
  if (location.hash) history.pushState(null, "", location.pathname);
  const row = [...$("rows").children].find(each => each.dataset.id === id);
  row?.classList.remove("open");
  (row?.querySelector("button") ?? $("main")).focus();
}
addEventListener("popstate", () => { if (me && token) opened(); });

const watching = poller(async () => {
  const into = one;
  try {
    const { said, tag, same } = await api("GET", `/v1/executions/${one.id}`, { tag: one.tag });
    if (into !== one) return false;
    if (!same) {
      one.tag = tag;
      showOne(said.data);
    }
    if (unfinished(one.data)) return !same;
    await askUndo();
    const goesOn = into === one && ["ASKED", "RUNNING"].includes(one.undo?.status);
    if (!goesOn && into === one) watching.stop();
    return goesOn;
  } catch (trouble) {
    if (into === one && trouble instanceof Trouble && !trouble.passes && trouble.status !== 401) {
      watching.stop();
      tell($("one-error"), trouble.message);
      put($("one-actions"), el("button", { type: "button", id: "close", click: close }, "Close"));
    }
    throw trouble;
  }
}, 1000, 15000);

function showOne(data) {
  const before = one.data, name = data.parameters.input_file_name, result = data.result, progress = data.progress;
  one.data = data;
  tell($("one-title"), name);
  put($("one-facts"), facts([
    ["Status", el("span", { class: `status ${data.status}` }, data.status)],
    ["Doing", data.phase !== "CLOSED" && data.status !== "PENDING" ? { IMPORTING: "reading rows", FINALISING: "settling: all rows are read", CLOSING: "writing its receipt" }[data.phase] ?? data.phase : ""],
    ["Import", String(data.parameters.document_import_id)], ["Dialect", data.parameters.document_type],
    ["Good rows", result && number(result.total_success)],
    ["Refused rows", result && el("span", { class: result.total_failure ? "bad" : "" }, number(result.total_failure))],
    ["Expired rows", result?.total_expired ? number(result.total_expired) : ""],
    ["Rows of erased people", result?.total_erased ? number(result.total_erased) : ""],
    ["Withheld rows", result?.total_withheld ? number(result.total_withheld) : ""],
    ["Dropped", time(data.creation_date)], ["Began", time(data.start_date)], ["Took", span(data.duration)],
    [data.mends ? "Has mended rows of" : "Reads again", data.parent
      ? el("button", { class: "link", type: "button", click: () => open(data.parent) }, data.parent) : ""],
    ["Undone", data.undone ? time(data.undone.done_ms ?? data.undone.at_ms) : ""],
    ["Attempt", data.retry_count ? data.retry_count + 1 : ""], ["Execution", el("code", {}, data.id)],
    ["File", el("code", {}, result?.input_file_uri ?? data.parameters.file_uri)],
  ]), data.error ? el("div", { class: "wide" }, el("dt", {}, "Why it failed"), el("dd", { class: "bad" }, `${data.error.code}: ${data.error.message}`)) : null);
  $("one-progress").hidden = !progress;
  if (progress) {
    const bar = $("one-bar");
    if (progress.bytes_read !== null && data.status === "RUNNING") { bar.max = Math.max(progress.bytes, 1); bar.value = progress.bytes_read; }
    else if (progress.parts > 1) { bar.max = progress.parts; bar.value = progress.parts_done; }
    else bar.removeAttribute("value");
    tell($("one-progress-text"), [data.status === "PENDING" ? "Waiting for a worker" : "",
      progress.parts > 1 ? `${number(progress.parts_done)} of ${many(progress.parts, "part")} done` : "",
      progress.rows === null ? "" : `${many(progress.rows, "row")} read, ${number(progress.bad)} refused`].filter(Boolean).join(" · ") || "At work");
  }
  if (before?.status !== data.status || before?.phase !== data.phase || before?.num_tasks !== data.num_tasks || before?.completed_tasks !== data.completed_tasks) {
    const parts = progress && progress.parts > 1 ? `, ${progress.parts_done} of ${progress.parts} parts done` : "";
    say(result ? `${name}: ${data.status}, ${number(result.total_success)} good, ${number(result.total_failure)} refused.` : `${name}: ${data.status}${parts}.`);
  }
  if (before?.status !== data.status || before?.phase !== data.phase) actions();
  if (data.receipt && one.shown !== `${data.retry_count}`) showReceipt(data.receipt);
  if (!data.receipt) put($("one-receipt"), !unfinished(data) ? el("p", { class: "quiet" }, "Its receipt is not there any more.") : "");
  one.shown = data.receipt ? `${data.retry_count}` : null;
  if (list?.byId.has(data.id)) showRows([data]);
}

/** The buttons of an execution. Those that stay are left where they are: a person may be about to press one. */
function actions() {
  const data = one.data, importId = String(data.parameters.document_import_id), done = !unfinished(data) && data.result;
  const wanted = [["close", "Close", close]];
  if (may("write", importId) && data.phase === "IMPORTING") wanted.push(["cancel", "Cancel…", cancel]);
  if (may("write", importId) && data.status === "FAILED" && !unfinished(data) && !data.undone) wanted.push(["redrive", "Take it up again…", redrive]);
  if (may("admin", importId) && !unfinished(data) && ["NONE", "REFUSED"].includes(one.undo?.status)) wanted.push(["undo", "Undo…", undo]);
  const result = () => one.data.result;
  if (done && done.error_file_uri) {
    wanted.push(["get-errors", "Download the refused rows", () => download(result().error_file_uri)]);
    wanted.push(["get-reasons", "Download their reasons", () => download(`${result().error_file_uri}.reasons.ndjson`)]);
  }
  if (done && data.receipt) wanted.push(["get-receipt", "Download the receipt", () => download(result().receipt_uri)]);
  if (done) wanted.push(["get-file", "Download the file", () => download(result().input_file_uri)]);
  const place = $("one-actions"), had = place.contains(document.activeElement);
  const ids = new Set(wanted.map(([id]) => id));
  for (const button of [...place.children]) if (!ids.has(button.id)) button.remove();
  let before = place.firstElementChild;
  for (const [id, words, act] of wanted) {
    if (before?.id === id) before = before.nextElementSibling;
    else place.insertBefore(el("button", { type: "button", id, click: act }, words), before);
  }
  if (had && !place.contains(document.activeElement)) $("one-title").focus();
}

function showReceipt(receipt) {
  const groups = receipt.reasons ?? [], notes = receipt.notes ?? [], cost = receipt.cost?.usd;
  put($("one-receipt"),
    el("h3", {}, "Receipt"),
    el("dl", { class: "facts" }, facts([
      ["Lines", number(receipt.lines)], ["Rows", number(receipt.rows)], ["Blank", receipt.blank ? number(receipt.blank) : ""],
      ["Events", number(receipt.events)], ["Changes of users", receipt.user_changes ? number(receipt.user_changes) : ""],
      ["Bytes", bytes(receipt.source?.bytes ?? 0)], ["Parts", number(receipt.parts)],
      ["Cost, about", cost === undefined ? "" : `$${Number(cost).toPrecision(2)}`],
      ["SHA-256", receipt.source?.sha256 ? el("code", {}, receipt.source.sha256) : ""],
    ])),
    receipt.unread?.length ? el("p", { class: "bad" }, `Not read: ${receipt.unread.slice(0, 10).map(each => `from byte ${number(each.from)}`).join(", ")}.`) : null,
    receipt.diagnosis ? el("p", {}, words(receipt.diagnosis)) : null,
    groups.length ? el("h3", {}, "Why rows were refused") : null,
    reasons(groups),
    notes.length ? el("h3", {}, "Noted") : null,
    notes.length ? el("ul", {}, notes.map(note => el("li", {}, `${number(note.count)} × ${note.code}`, note.first_line ? `, first in line ${number(note.first_line)}` : ""))) : null);
}

async function download(uri) {
  await acting(async () => {
    const { said } = await api("GET", `/v1/data_file/data?as=link&uri=${encodeURIComponent(uri)}`);
    const url = new URL(said.data.url);
    if (!["https:", "http:"].includes(url.protocol)) throw new Trouble("The importer gives no address for it.", 500);
    const link = el("a", { href: url.href, download: said.data.file_name, rel: "noreferrer noopener" });
    document.body.append(link);
    link.click();
    link.remove();
    say(`Downloading ${said.data.file_name}, ${bytes(said.data.bytes)}.`);
  });
}

/** Does what a person asked for; what goes wrong is told beside the buttons. */
async function acting(act) {
  const into = one;
  tell($("one-error"), "");
  try {
    await act();
  } catch (trouble) {
    if (!(trouble instanceof Trouble)) throw trouble;
    if (trouble.status !== 401 && into === one) tell($("one-error"), trouble.message);
  }
}

let answer = null;
/** Whether a person says yes. Focus begins on the answer that changes nothing, and goes back to where it was. */
function asked(title, content, yes) {
  return new Promise(done => {
    const dialog = $("ask"), from = document.activeElement;
    tell($("ask-title"), title);
    put($("ask-text"), content);
    tell($("ask-yes"), yes);
    // Not by its event "close", which comes later: perhaps when the next question is already open.
    answer = said => {
      answer = null;
      dialog.close();
      if (from.isConnected) from.focus(); else $("one-title").focus();
      done(said);
    };
    dialog.showModal();
    $("ask-no").focus();
  });
}

$("ask-yes").addEventListener("click", () => answer?.(true));
$("ask-no").addEventListener("click", () => answer?.(false));
$("ask").addEventListener("cancel", event => { event.preventDefault(); answer?.(false); });

const name = () => one.data.parameters.input_file_name;

function cancel() {
  return acting(async () => {
    const data = one.data;
    const yes = await asked(`Cancel the import of ${name()}?`,
      el("p", {}, "Rows that are written stay, the file stays in imports/, and it cannot be taken up again: it has to be sent again."), "Cancel the import");
    if (!yes) return;
    await api("POST", `${data.permalink_uri}/action`, { body: { action: "CANCEL" } });
    watching.start();
  });
}

function redrive() {
  return acting(async () => {
    const { id, error } = one.data;
    const yes = await asked(`Take up the import of ${name()} again?`,
      [error ? el("p", {}, `It failed: ${error.code}: ${error.message}`) : null, el("p", {}, "A file that is itself broken fails again: mend it and send it instead.")], "Take it up again");
    if (!yes) return;
    await api("POST", `/v1/executions/${id}/redrive`);
    watching.start();
  });
}

// ---- Undo: there where the installation has it

async function askUndo() {
  const into = one;
  if (!may("admin", String(one.data.parameters.document_import_id))) return;
  if (one.undo === null) return;
  let state;
  try {
    state = (await api("GET", `/v1/executions/${one.id}/undo`)).said.data ?? { status: "NONE" };
  } catch (trouble) {
    if (!(trouble instanceof Trouble) || trouble.status === 401 || trouble.passes) throw trouble;
    // Not undone: it can be. No such route, or none such here: no button.
    state = trouble.code?.startsWith("not_") ? { status: "NONE" } : null;
  }
  if (into !== one) return;
  const before = JSON.stringify(one.undo);
  one.undo = state && { ...state, status: state.status ?? "NONE" };
  if (JSON.stringify(one.undo) === before) return;
  const told = state && one.undo.status !== "NONE";
  put($("one-undo"), told ? [el("h3", {}, "Undo"), plain(state)] : "");
  if (told) say(`Undo of ${name()}: ${state.status}.`);
  actions();
}

const planned = plan => [
  el("dl", { class: "facts" }, facts([
    ["Items, at most", number(plan.items_at_most)], ["To be read", bytes(plan.read_bytes ?? 0)],
    ["Other imports to be read", number(plan.others?.length)], ["Of these still running", plan.running?.length ? number(plan.running.length) : ""],
    ["Takes about", span((plan.seconds ?? 0) * 1000)], ["Would cost about", plan.cost ? `$${Number(plan.cost.usd).toPrecision(2)}` : ""],
  ])),
  plan.stream ? el("p", {}, plan.stream) : null,
];

/** A JSON value for people: names and values, one under the other. */
function plain(value, depth = 0) {
  if (Array.isArray(value)) return el("ul", {}, value.slice(0, 50).map(each => el("li", {}, plain(each, depth + 1))));
  if (value !== null && typeof value === "object" && depth < 4) {
    return el("dl", { class: depth ? "" : "facts" }, facts(Object.entries(value)
      .filter(([key, each]) => each !== null && !["schema", "execution_id"].includes(key))
      .map(([key, each]) => key.endsWith("_ms") ? [key.slice(0, -3).replaceAll("_", " "), time(each)]
        : [key.replaceAll("_", " "), plain(each, depth + 1)])));
  }
  return el("span", {}, typeof value === "number" ? number(value) : value === null ? "none" : typeof value === "object" ? JSON.stringify(value) : value);
}

function undo() {
  return acting(async () => {
    const id = one.id;
    say("Working out what an undo would do.");
    const plan = (await api("POST", `/v1/executions/${id}/undo?plan=true`)).said;
    say("");
    const yes = await asked(`Undo the import of ${name()}?`,
      [el("p", {}, "What it alone has stored is removed, and what earlier imports had stored in its place is put back."), plan.data.schema === "undo_plan/1" ? planned(plan.data) : plain(plan.data)].flat(), "Undo the import");
    if (!yes) return;
    await api("POST", `/v1/executions/${id}/undo`);
    if (one?.id === id) watching.start();
  });
}

// ---- Begin

/** A token of the address, which is taken out of it at once. A fragment is sent to nobody. */
function fragmentToken() {
  const given = /^#token=([\w.-]+)$/.exec(location.hash)?.[1];
  if (given) history.replaceState(null, "", location.pathname);
  return given;
}

{
  const given = fragmentToken() || sessionStorage.getItem(KEPT);
  $("enter").hidden = Boolean(given);
  if (given) {
    enter(given).catch(trouble => {
      if (!(trouble instanceof Trouble)) throw trouble;
      if (trouble.status === 401) return;
      $("enter").hidden = false;
      $("token").value = given;
      tell($("token-error"), trouble.message);
    });
  } else {
    $("token").focus();
  }
}
