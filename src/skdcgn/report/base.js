// What a reader can do with the page; without this script all of it is still there to read.
"use strict";

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const within = (value, low, high) => Math.max(low, Math.min(value, high));

// Tables: press a heading and its column rises, again and it falls, again and the page's own order is back.

const NUMBER = /((?:^[-+\u2212])?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)/;
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

// "noise 0.5" -> ["noise ", 0.5, ""]: words and numbers in turn; null where a cell says nothing.
function sortKey(cell) {
  const copy = cell.cloneNode(true);
  copy.querySelectorAll("small").forEach((small) => small.remove());
  const text = copy.textContent.trim();
  if (["", "-", "\u2013", "unknown"].includes(text)) return null;
  const asNumber = (part) => Number(part.replaceAll(",", "").replace("\u2212", "-"));
  return text.split(NUMBER).map((part, place) => (place % 2 ? asNumber(part) : part));
}

function compare(one, other) {
  for (let place = 0; place < Math.min(one.length, other.length); place++) {
    const [a, b] = [one[place], other[place]];
    const apart = place % 2 ? a - b : a.localeCompare(b, "en");
    if (apart) return apart;
  }
  return one.length - other.length;
}

function sorted(rows, column, order) {
  if (order === "none") return rows;
  const sign = order === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => [sortKey(row.cells[column]), row]);
  const rank = ([a], [b]) => (a && b ? sign * compare(a, b) : !a - !b);
  return keyed.sort(rank).map(([, row]) => row);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const rows = [...table.tBodies[0].rows];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.ariaSort = "none";
    const button = make("button", { type: "button" }, ...heading.childNodes);
    heading.append(button);
    button.onclick = () => {
      const order = NEXT[heading.ariaSort];
      headings.forEach((other) => (other.ariaSort = "none"));
      heading.ariaSort = order;
      table.tBodies[0].append(...sorted(rows, column, order));
    };
  });
}

// Tables wider than the page scroll in their box: a line above says so, and the arrow keys do it too.

for (const box of document.querySelectorAll(".scroll")) {
  const hint = make("p", { className: "hint", hidden: true }, "Scroll this table sideways to see all columns \u2192");
  box.before(hint);
  new ResizeObserver(() => {
    const wide = box.scrollWidth > box.clientWidth;
    hint.hidden = !wide;
    box.tabIndex = wide ? 0 : -1;
  }).observe(box);
}

// Figures: the nearest mark says its value, under the pointer, a finger, or the arrow keys.

const tip = make("div", { className: "tip", role: "status" });
const STEP = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity };

for (const svg of document.querySelectorAll("svg[data-marks]")) {
  const marks = JSON.parse(svg.dataset.marks).flatMap(([color, name, points]) =>
    points.map(([x, y, value, place]) => ({ x, y, color, value, place: place ? `${name}, ${place}` : name })),
  );
  const dot = document.createElementNS(svg.namespaceURI, "circle");
  dot.setAttribute("class", "dot");
  dot.setAttribute("r", 3);
  let current = marks.length - 1;

  function show(index) {
    current = within(index, 0, marks.length - 1);
    const { x, y, color, value, place } = marks[current];
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
    dot.style.fill = `var(${color})`;
    svg.append(dot);
    tip.replaceChildren(make("b", {}, value), place);
    svg.parentNode.append(tip);
    const frame = svg.parentNode.getBoundingClientRect();
    const { x: left, y: top } = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
    tip.style.left = `${within(left - frame.left - tip.offsetWidth / 2, 0, frame.width - tip.offsetWidth)}px`;
    const above = top - frame.top - tip.offsetHeight - 10;
    tip.style.top = `${above < 0 ? top - frame.top + 10 : above}px`;
  }

  function hide() {
    dot.remove();
    tip.remove();
  }

  // Readers aim at a step of a curve, or at a row of bars: along that axis a mark must be near first.
  function nearest(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const [across, down] = svg.dataset.along === "x" ? [20, 1] : [1, 20];
    const far = marks.map(({ x, y }) => across * Math.abs(x - at.x) + down * Math.abs(y - at.y));
    return far.indexOf(Math.min(...far));
  }

  svg.tabIndex = 0;
  svg.onpointermove = svg.onpointerdown = (event) => show(nearest(event));
  svg.onpointerleave = (event) => event.pointerType === "mouse" && hide();
  svg.onfocus = () => show(current);
  svg.onblur = hide;
  svg.onkeydown = (event) => {
    if (event.key === "Escape") hide();
    if (!(event.key in STEP)) return;
    event.preventDefault();
    show(current + STEP[event.key]);
  };
}

// Interpolations: one slider through the frames of all strips, which are squares at equal distances.

for (const strips of document.querySelectorAll(".strips")) {
  const images = [...strips.querySelectorAll("img[data-frames]")];
  if (!images.length) continue;
  const last = Math.max(...images.map((image) => image.dataset.frames)) - 1;
  const slider = make("input", { type: "range", min: 0, max: last, value: 0, ariaLabel: "Frame" });
  const output = make("output", {});
  const views = images.map((image) => {
    const side = image.naturalHeight || image.height;
    const canvas = make("canvas", { width: side, height: side, role: "img" });
    const marker = make("i", {});
    image.parentNode.append(marker);
    image.parentNode.onclick = (event) => {
      const box = image.getBoundingClientRect();
      show(Math.floor(((event.clientX - box.left) / box.width) * image.dataset.frames));
    };
    return { image, canvas, marker, name: image.closest("figure").querySelector("figcaption").textContent };
  });

  function draw({ image, canvas, marker, name }, frame) {
    const { naturalWidth: width, naturalHeight: side } = image;
    const pitch = (width - side) / (image.dataset.frames - 1);
    const left = pitch * Math.min(frame, image.dataset.frames - 1);
    canvas.getContext("2d").drawImage(image, left, 0, side, side, 0, 0, side, side);
    canvas.ariaLabel = `${name}, frame ${frame + 1}`;
    marker.style.left = `${(100 * left) / width}%`;
    marker.style.width = `${(100 * side) / width}%`;
  }

  function show(frame) {
    slider.value = within(frame, 0, last);
    output.value = slider.ariaValueText = `frame ${slider.valueAsNumber + 1} of ${last + 1}`;
    views.forEach((view) => draw(view, slider.valueAsNumber));
  }

  slider.oninput = () => show(slider.valueAsNumber);
  const enlarged = views.map(({ canvas, name }) => make("figure", {}, make("figcaption", {}, name), canvas));
  const player = make("div", { className: "player" }, make("div", { className: "frames" }, ...enlarged));
  player.append(make("label", {}, slider, output));
  Promise.all(images.map((image) => image.decode())).then(() => {
    strips.prepend(player);
    show(Math.round(last / 2));
  });
}
