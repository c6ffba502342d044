// Moves through the picture, opens and shuts groups, shows what a step needs and what needs it, and what is known
// of it. The picture and everything said here were made by `pipe graph`; this script adds no text from elsewhere.
"use strict";
(() => {
  const $ = id => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const { steps } = data;
  const svg = $("graph"), stage = $("stage"), panel = $("panel"), search = $("search"), found = $("found");
  const all = svg.querySelector(".all"), legend = svg.querySelector(".legend"), height = +svg.getAttribute("height");
  document.documentElement.classList.add("live");
  ["viewBox", "width", "height"].forEach(name => svg.removeAttribute(name));

  // Steps, blocks and lines, each with its element and with what it leads to.
  const blocks = data.blocks.map(block => ({ ...block, steps: [], next: [], before: [] }));
  svg.querySelectorAll("[data-b]").forEach(el => {
    const block = blocks[el.dataset.b];
    block.el = el;
    block.rowEls = [...el.querySelectorAll("[data-r]")];
  });
  steps.forEach((step, at) => { step.up = []; step.down = []; blocks[step.block].steps.push(at); });
  data.reads.forEach(([from, to]) => { steps[to].up.push(from); steps[from].down.push(to); });
  const { lines } = data;
  svg.querySelectorAll("[data-e]").forEach(el => Object.assign(lines[el.dataset.e], { el, head: el.nextElementSibling }));
  const elementOf = at => blocks[steps[at].block].rowEls[steps[at].row] || blocks[steps[at].block].el;

  // ---- Places. Columns and their order are those of the picture; heights follow what is open. ----
  const GAP = 14, MARGIN = 16;
  const columns = [];
  const into = (column, item) => { (columns[column] ??= { items: [] }).items.push(item); return item; };
  const size = block => block.is_open ? block.open : block.shut;
  blocks.forEach(block => { block.item = into(block.column, { block, y: block.y, left: [], right: [] }); });
  lines.forEach(line => {
    line.items = line.bends.map(([column, y]) => into(column, { column, y, left: [], right: [] }));
    const chain = [blocks[line.from].item, ...line.items, blocks[line.to].item];
    chain.slice(1).forEach((item, at) => { item.left.push(chain[at]); chain[at].right.push(item); });
    blocks[line.from].next.push(line.to);
    blocks[line.to].before.push(line.from);
  });
  const widest = column => Math.max(0, ...column.items.map(item => item.block ? size(item.block)[0] : 0));
  columns.forEach((column, at) => {
    column.items.sort((a, b) => a.y - b.y);
    column.x = column.items.find(item => item.block)?.block.x ?? 0;
    column.wide = widest(column);
    const last = columns[at - 1];
    column.gap = last ? column.x - column.wide / 2 - last.x - last.wide / 2 : 0;
  });

  // Puts the items of a column as near to where they want to be as their heights allow: neighbours that would
  // overlap move together to the mean of their wishes.
  function settle(column, wish) {
    let offset = 0;
    const groups = [];
    column.items.forEach((item, at) => {
      const high = item.block ? size(item.block)[1] : 6;
      offset += at ? (column.items[at - 1].high + high) / 2 + GAP : 0;
      Object.assign(item, { high, offset });
      groups.push({ sum: wish(item) - offset, count: 1 });
      while (groups.length > 1 && groups.at(-2).sum / groups.at(-2).count > groups.at(-1).sum / groups.at(-1).count) {
        const last = groups.pop();
        groups.at(-1).sum += last.sum;
        groups.at(-1).count += last.count;
      }
    });
    let at = 0;
    groups.forEach(({ sum, count }) => {
      for (let i = 0; i < count; i++, at++) column.items[at].y = sum / count + column.items[at].offset;
    });
  }

  function arrange() {
    const mean = (item, side) => item[side].length ? item[side].reduce((sum, other) => sum + other.y, 0) / item[side].length : item.y;
    for (let round = 0; round < 6; round++) {
      columns.forEach(column => settle(column, item => mean(item, "left")));
      [...columns].reverse().forEach(column => settle(column, item => mean(item, "right")));
    }
    let x = MARGIN;
    columns.forEach(column => { column.wide = widest(column); column.x = x + column.gap + column.wide / 2; x = column.x + column.wide / 2; });
    const top = Math.min(...columns.flatMap(column => column.items.map(item => item.y - item.high / 2)));
    columns.forEach(column => column.items.forEach(item => { item.y += MARGIN - top; }));
    blocks.forEach(draw);
    lines.forEach(line => {
      const d = flow(line.from, line.items, line.to);
      line.el.setAttribute("d", d);
      line.head.setAttribute("transform", `translate(${left(line.to)} ${blocks[line.to].y})`);
    });
  }

  const left = at => blocks[at].x - size(blocks[at])[0] / 2;
  // Lines are level through the whole of a column and bend between columns only.
  function flow(from, bends, to) {
    const past = ({ column, y }) => [-1, 1].map(side => [columns[column].x + side * columns[column].wide / 2, y]);
    const [start, end] = [blocks[from], blocks[to]];
    const points = [[left(from) + size(start)[0], start.y], past(start)[1], ...bends.flatMap(past), past(end)[0], [left(to), end.y]];
    return points.map(([x, y], at) => {
      if (!at) return `M${x} ${y}`;
      const [px, py] = points[at - 1], middle = (px + x) / 2;
      return py === y ? `H${x}` : `C${middle} ${py} ${middle} ${y} ${x} ${y}`;
    }).join("");
  }

  function draw(block) {
    const [wide, high] = size(block), box = block.el.querySelector(".box"), mark = block.el.querySelector(".mark");
    block.x = columns[block.column].x;
    block.y = block.item.y;
    block.el.setAttribute("transform", `translate(${block.x - wide / 2} ${block.y - high / 2})`);
    block.el.classList.toggle("shut", !block.is_open && block.rows > 0);
    box.setAttribute("width", wide);
    box.setAttribute("height", high);
    if (!mark) return;
    mark.setAttribute("transform", `translate(${wide - 14} 15)`);
    mark.querySelector("path").setAttribute("transform", block.is_open ? "" : "rotate(-90)");
    block.el.setAttribute("aria-expanded", block.is_open);
  }

  // Opens or shuts groups; the head of `still` stays where it is on the screen.
  function turn(which, open, still) {
    const corner = () => still && [left(blocks.indexOf(still)), still.y - size(still)[1] / 2];
    const before = corner();
    which.filter(block => block.rows > 0).forEach(block => { block.is_open = open; });
    arrange();
    const after = corner();
    if (after) move((before[0] - after[0]) * view.k, (before[1] - after[1]) * view.k); else fit();
    if (chosen) choose(chosen);
  }

  // ---- Moving and zooming. ----
  const view = { x: 0, y: 0, k: 1 };
  const show = () => all.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`);
  const extent = () => blocks.reduce(([right, bottom], block) => {
    const [wide, high] = size(block);
    return [Math.max(right, block.x + wide / 2 + MARGIN), Math.max(bottom, block.y + high / 2 + MARGIN)];
  }, [1, 1]);
  function move(dx, dy) { view.x += dx; view.y += dy; show(); }
  function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    const k = Math.min(4, Math.max(0.03, view.k * factor)), ratio = k / view.k;
    view.x = x - (x - view.x) * ratio;
    view.y = y - (y - view.y) * ratio;
    view.k = k;
    show();
  }
  function fit(least = 0) {
    const [wide, high] = extent(), { clientWidth: w, clientHeight: h } = stage;
    const k = Math.min(w / wide, h / high, 1.2);
    view.k = Math.max(k, least);
    view.x = k < least ? 0 : (w - wide * view.k) / 2;
    view.y = (h - high * view.k) / 2;
    show();
  }
  // Moves an element out from under the panel and in from beyond the edges, no further than it must.
  function bring(element) {
    const on = stage.getBoundingClientRect(), beside = innerWidth > 800;
    const over = panel.hidden ? { left: on.right, top: on.bottom } : panel.getBoundingClientRect();
    if (view.k < 0.5) zoom(0.9 / view.k);
    const box = element.getBoundingClientRect();
    const into = (low, high, least, most) => high + 24 > most ? most - high - 24 : low - 24 < least ? least + 24 - low : 0;
    move(into(box.left, box.right, on.left, beside ? over.left : on.right), into(box.top, box.bottom, on.top, beside ? on.bottom : over.top));
  }

  const pointers = new Map();
  let moved = false;
  stage.addEventListener("wheel", event => {
    event.preventDefault();
    const on = stage.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : event.deltaMode ? 0.05 : 0.0016)), event.clientX - on.x, event.clientY - on.y);
  }, { passive: false });
  stage.addEventListener("pointerdown", event => {
    if (event.button) return;
    if (!pointers.size) moved = false;
    pointers.set(event.pointerId, event);
  });
  stage.addEventListener("pointermove", event => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const dx = event.clientX - last.clientX, dy = event.clientY - last.clientY;
    if (!moved && Math.hypot(dx, dy) < 4) return;
    if (!moved) stage.setPointerCapture(event.pointerId);
    moved = true;
    stage.classList.add("moving");
    const other = [...pointers.values()].find(pointer => pointer.pointerId !== event.pointerId);
    pointers.set(event.pointerId, event);
    if (!other) return move(dx, dy);
    const on = stage.getBoundingClientRect(), far = point => Math.hypot(point.clientX - other.clientX, point.clientY - other.clientY);
    zoom(far(event) / Math.max(far(last), 1), (event.clientX + other.clientX) / 2 - on.x, (event.clientY + other.clientY) / 2 - on.y);
  });
  ["pointerup", "pointercancel", "pointerleave"].forEach(name => stage.addEventListener(name, event => {
    pointers.delete(event.pointerId);
    if (!pointers.size) stage.classList.remove("moving");
  }));

  // ---- What a step needs and what needs it. ----
  let chosen = null;
  const extra = all.querySelector(".lines").appendChild(document.createElementNS(svg.namespaceURI, "g"));
  function reach(from, side) {
    const seen = new Set(from), open = [...from];
    while (open.length) for (const at of steps[open.pop()][side]) if (!seen.has(at)) { seen.add(at); open.push(at); }
    return seen;
  }
  const clear = name => svg.querySelectorAll("." + name).forEach(el => el.classList.remove(name));
  function light(from) {
    clear("lit");
    extra.replaceChildren();
    svg.classList.toggle("dim", from.length > 0);
    if (!from.length) return;
    const up = reach(from, "up"), down = reach(from, "down"), joined = new Set();
    for (const at of new Set([...up, ...down])) { elementOf(at).classList.add("lit"); blocks[steps[at].block].el.classList.add("lit"); }
    for (const [a, b] of data.reads) {
      if ((up.has(a) && up.has(b)) || (down.has(a) && down.has(b))) joined.add(steps[a].block * blocks.length + steps[b].block);
    }
    const led = new Set();
    lines.filter(line => joined.has(line.from * blocks.length + line.to)).forEach(line => {
      line.el.classList.add("lit");
      line.head.classList.add("lit");
      led.add(line.from);
    });
    // A line that others imply is not drawn; where those others aren't part of this ancestry, it is.
    for (const pair of joined) {
      const a = Math.floor(pair / blocks.length), b = pair % blocks.length;
      if (a === b || led.has(a)) continue;
      const path = extra.appendChild(document.createElementNS(svg.namespaceURI, "path"));
      path.setAttribute("class", "e lit");
      path.setAttribute("d", flow(a, [], b));
    }
  }

  const stepsOf = ({ block, row, step }) =>
    step !== undefined ? [step] : blocks[block].steps.filter(at => row === undefined || steps[at].row === row);
  function choose(what) {
    chosen = what;
    clear("chosen");
    if (!what) { light([]); panel.hidden = true; return; }
    const which = stepsOf(what);
    (what.block !== undefined && what.row === undefined && what.step === undefined ? blocks[what.block].el : elementOf(which[0])).classList.add("chosen");
    light(which);
    which.length === 1 ? tell(which[0]) : tellGroup(what, which);
  }
  function at(element) {
    const row = element.closest?.("[data-r]"), block = element.closest?.("[data-b]");
    if (!block) return null;
    return row ? { block: +block.dataset.b, row: +row.dataset.r } : { block: +block.dataset.b };
  }
  stage.addEventListener("click", event => {
    if (moved) return;
    const what = at(event.target);
    if (what && event.target.closest(".mark")) return turn([blocks[what.block]], !blocks[what.block].is_open, blocks[what.block]);
    choose(what);
  });
  const peek = event => { if (!chosen) { const what = at(event.target); light(what ? stepsOf(what) : []); } };
  stage.addEventListener("pointerover", event => { if (!pointers.size && event.pointerType === "mouse") peek(event); });
  stage.addEventListener("focusin", event => {
    peek(event);
    if (event.target.matches(":focus-visible")) bring(event.target);
  });
  stage.addEventListener("focusout", () => { if (!chosen) light([]); });

  // ---- The panel. ----
  function make(name, more = {}, ...children) {
    const el = Object.assign(document.createElement(name), more);
    el.append(...children.filter(child => child !== null && child !== undefined));
    return el;
  }
  function sign(css) {
    const drawn = document.createElementNS(svg.namespaceURI, "svg"), path = svg.querySelector(".i." + css);
    drawn.setAttribute("class", "sign");
    drawn.setAttribute("viewBox", "-6 -6 12 12");
    drawn.setAttribute("aria-hidden", "true");
    if (path) { drawn.append(path.cloneNode()); drawn.firstChild.removeAttribute("transform"); }
    return drawn;
  }
  const facts = pairs => make("dl", {}, ...pairs.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  const go = step => { reveal(step); choose({ step, block: steps[step].block }); };
  function list(title, which) {
    const item = step => make("li", {}, make("button", { type: "button", onclick: () => go(step) }, sign(steps[step].css), make("span", {}, steps[step].name), make("span", {}, steps[step].state)));
    const rest = which.length > 60 ? make("li", { className: "soft" }, `and ${which.length - 60} more`) : null;
    return which.length ? make("div", {}, make("h3", {}, `${title} (${which.length})`), make("ul", {}, ...which.slice(0, 60).map(item), rest)) : null;
  }
  function tellAll(...children) {
    const close = make("button", { type: "button", className: "close", title: "Let go (Esc)", onclick: () => choose(null) }, "×");
    close.setAttribute("aria-label", "Let go");
    panel.hidden = false;
    panel.replaceChildren(close, ...children.filter(Boolean));
    panel.scrollTop = 0;
    // The end of a log says how it went.
    panel.querySelectorAll("pre").forEach(log => { log.scrollTop = log.scrollHeight; });
    const element = chosen && svg.querySelector(".chosen");
    if (element) bring(element);
  }
  function tell(index) {
    const step = steps[index], { log } = step;
    const state = step.reason && step.css === "depends" ? `depends on ${step.reason}` : [step.state, step.reason].filter(Boolean).join(": ");
    tellAll(
      // Long names break where their parts end.
      make("h2", {}, ...step.name.split(/(?<=[,/[])/).flatMap(part => [part, make("wbr")])),
      make("p", { className: "state" }, sign(step.css), make("span", {}, state)),
      ...[step.remedy && `Help: ${step.remedy}`, step.about].filter(Boolean).map(text => make("p", { className: "soft" }, text)),
      facts([["class", step.class], ["recipe", step.recipe], ["took", step.took], ["size", step.size],
        ["key", step.key && make("code", { title: step.key }, step.key.slice(0, 16) + "…")]]),
      log ? make("div", {}, make("h3", {}, log.before ? `Log, last ${log.lines.length} of ${log.before + log.lines.length} lines` : "Log"),
        make("pre", { tabIndex: 0 }, log.lines.join("\n")), make("p", { className: "soft" }, "All of it: ", make("code", {}, log.command))) : null,
      list("Reads", step.up), list("Read by", step.down));
  }
  function tellGroup({ block }, which) {
    const group = blocks[block], counts = data.states.map(([css, words]) => [css, words, which.filter(at => steps[at].css === css).length]);
    tellAll(
      make("h2", {}, group.name), make("p", { className: "soft" }, `${which.length} steps`),
      ...counts.filter(([, , count]) => count).map(([css, words, count]) => make("p", { className: "state" }, sign(css), make("span", {}, `${words}: ${count}`))),
      which.length === group.steps.length ? facts([["together", group.took]]) : null,
      group.rows ? make("p", {}, make("button", { type: "button", onclick: () => turn([group], !group.is_open, group) }, group.is_open ? "Hide its steps" : "Show its steps")) : null,
      list("Steps", which));
  }
  function help() {
    const keys = [["drag", "move"], ["wheel, + −", "zoom"], ["0", "all of it"], ["click, Enter", "choose a step"], ["Space", "open or shut a group"],
      ["o, s", "open, shut all groups"], ["← → ↑ ↓", "go to inputs, readers, neighbours"], ["/", "find"], ["Esc", "let go"]];
    tellAll(make("h2", {}, "Keys"),
      make("div", { className: "help" }, ...keys.flatMap(([key, what]) => [make("span", {}, make("kbd", {}, key)), make("span", {}, what)])),
      make("p", { className: "soft" }, "Point at a step to see what it needs and what needs it. Lines that others imply are left out."));
  }
  $("standing").append(...data.states.map(([css, words, count]) => make("span", { className: "state" }, sign(css), `${words}: ${count}`)));

  // ---- Finding, buttons and keys. ----
  let matches = [], turnAt = 0;
  function reveal(step) {
    const block = blocks[steps[step].block];
    if (!block.is_open && steps[step].row !== undefined) turn([block], true, block);
  }
  search.addEventListener("input", () => {
    clear("hit-found");
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const text = step => [step.name, step.state, step.class, step.recipe].join(" ").toLowerCase();
    matches = words.length ? steps.map((step, index) => words.every(word => text(step).includes(word)) ? index : -1).filter(index => index >= 0) : [];
    matches.forEach(index => { elementOf(index).classList.add("hit-found"); blocks[steps[index].block].el.classList.add("hit-found"); });
    found.textContent = words.length ? `${matches.length} of ${steps.length}` : "";
    turnAt = 0;
  });
  search.addEventListener("keydown", event => {
    if (event.key === "Enter" && matches.length) go(matches[(turnAt++) % matches.length]);
    if (event.key === "Escape") { search.value = ""; search.dispatchEvent(new Event("input")); search.blur(); }
  });
  const actions = { in: () => zoom(1.25), out: () => zoom(0.8), fit: () => fit(), open: () => turn(blocks, true), shut: () => turn(blocks, false), help };
  Object.entries(actions).forEach(([id, action]) => $(id).addEventListener("click", action));
  const keys = { "+": "in", "=": "in", "-": "out", "0": "fit", o: "open", s: "shut", "?": "help" };
  const arrows = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
  function walk(what, key) {
    const block = blocks[what.block];
    if (key === "ArrowLeft" || key === "ArrowRight") return blocks[block[key === "ArrowLeft" ? "before" : "next"][0]]?.el;
    const seen = [...svg.querySelectorAll("[data-b],[data-r]")].filter(el => !el.dataset.r || !el.closest(".shut"));
    return seen[seen.indexOf(document.activeElement) + (key === "ArrowDown" ? 1 : -1)];
  }
  document.addEventListener("keydown", event => {
    if (event.target === search || event.ctrlKey || event.metaKey || event.altKey) return;
    const what = stage.contains(event.target) ? at(event.target) : null;
    if (event.key === "/") search.focus();
    else if (event.key === "Escape") choose(null);
    else if (keys[event.key]) actions[keys[event.key]]();
    else if (what && event.key === "Enter") choose(what);
    else if (what && event.key === " ") blocks[what.block].rows ? turn([blocks[what.block]], !blocks[what.block].is_open, blocks[what.block]) : choose(what);
    else if (arrows[event.key] && !panel.contains(event.target)) what ? walk(what, event.key)?.focus() : move(...arrows[event.key]);
    else return;
    event.preventDefault();
  });

  // Paper gets all of it.
  addEventListener("beforeprint", () => {
    const [wide, high] = extent();
    svg.setAttribute("viewBox", `0 0 ${Math.max(wide, 900)} ${high + 50}`);
    legend?.setAttribute("transform", `translate(0 ${high - height + 40})`);
    all.removeAttribute("transform");
  });
  addEventListener("afterprint", () => { svg.removeAttribute("viewBox"); show(); });
  addEventListener("resize", () => chosen || fit(0.7));
  fit(0.7);
})();
