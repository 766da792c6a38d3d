"use strict";
// Sorting, filtering, choosing the test set, hiding rows of the plots, and the face viewer. Without this script the
// page shows everything at once.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const announce = (text) => { document.getElementById("status").textContent = text; };

all(".scripted").forEach((element) => { element.hidden = false; });

// Test set: one choice for the whole page.
const testSet = document.getElementById("test-set");
function showSet() {
  const chosen = testSet ? testSet.value : "0";
  all("[data-set]").forEach((element) => { element.hidden = element.dataset.set !== chosen; });
  all("h3.set").forEach((heading) => { heading.hidden = !testSet; });
}
if (testSet) testSet.addEventListener("change", () => { showSet(); filterRows(); });
showSet();

// Leaderboard: sorted within the comparable methods and within the bounds; rows without a value come last.
function compareBy(place, direction) {
  const sign = direction === "ascending" ? 1 : -1;
  return (one, other) => {
    const [a, b] = [one, other].map((row) => row.cells[place].dataset.value);
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return sign * (place === 0 ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  };
}
all(".board thead th").forEach((header) => {
  header.querySelector("button").addEventListener("click", () => {
    const table = header.closest("table");
    const opposite = { ascending: "descending", descending: "ascending" };
    const direction = opposite[header.getAttribute("aria-sort")] || header.dataset.first;
    all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", direction);
    all("tbody", table).forEach((body) => {
      body.append(...all("tr[data-label]", body).sort(compareBy(header.cellIndex, direction)));
    });
    announce(`Sorted by ${header.textContent.trim()}, ${direction}`);
  });
});

// Boxes that are wider than the window say so.
const markWide = (box) => box.classList.toggle("wide", box.scrollWidth > box.clientWidth + 1);
const widths = new ResizeObserver((entries) => {
  requestAnimationFrame(() => entries.forEach((entry) => markWide(entry.target)));  // it changes the observed heights
});
all(".box").forEach((box) => widths.observe(box));

const filter = document.getElementById("filter");
function filterRows() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  all(".board").forEach((table) => {
    const rows = all("tr[data-label]", table);
    rows.forEach((row) => {
      const text = row.cells[0].textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    });
    all("tr.section", table).forEach((section) => {
      section.hidden = !all("tr[data-label]", section.parentElement).some((row) => !row.hidden);
    });
    if (!table.closest("[hidden]")) {
      const shown = rows.filter((row) => !row.hidden).length;
      document.getElementById("filtered").textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    }
  });
}
filter.addEventListener("input", filterRows);

// Legends: a button hides its row in every plot.
all(".legend button").forEach((button) => {
  button.addEventListener("click", () => {
    const off = button.getAttribute("aria-pressed") === "true";
    const own = `[data-row="${button.dataset.row}"]`;
    all(`.legend button${own}`).forEach((twin) => twin.setAttribute("aria-pressed", String(!off)));
    all(`.plot ${own}`).forEach((drawn) => drawn.classList.toggle("off", off));
  });
});

// Face viewer: the images are those of the galleries; error maps are computed from their pixels.
const STOPS = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]];
const FULL = 64;
function ramp(share) {
  const at = Math.min(share, 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[low].map((value, colour) => value + (at - low) * (STOPS[low + 1][colour] - value));
}
function pixelsOf(image, side) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, side, side);
  return context.getImageData(0, 0, side, side).data;
}
async function drawError(canvas, image, truth) {
  await Promise.all([image.decode(), truth.decode()]);
  const side = truth.naturalWidth;
  const [restored, hr] = [pixelsOf(image, side), pixelsOf(truth, side)];
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  const drawn = context.createImageData(side, side);
  let sum = 0;
  for (let at = 0; at < hr.length; at += 4) {
    let error = 0;
    for (let colour = 0; colour < 3; colour += 1) error += Math.abs(restored[at + colour] - hr[at + colour]) / 3;
    sum += error;
    const shade = ramp(error / FULL);
    for (let colour = 0; colour < 3; colour += 1) drawn.data[at + colour] = shade[colour];
    drawn.data[at + 3] = 255;
  }
  context.putImageData(drawn, 0, 0);
  return sum / (side * side);
}

all(".viewer").forEach((viewer) => {
  const find = (selector) => viewer.querySelector(selector);
  const [slide, range] = [find(".slide"), find("input[type=range]")];
  const sides = { left: find(".choose-left"), right: find(".choose-right") };
  let face = "0";

  const gallery = () => find(`.gallery[data-face="${face}"]`);
  const view = (number) => find(`.gallery[data-face="${face}"] button[data-view="${number}"]`);
  const nameOf = (button) => button.querySelector("span").textContent;
  const describe = (button) => {
    const psnr = button.querySelector("small");
    return psnr ? `${nameOf(button)}, ${psnr.textContent}` : nameOf(button);
  };

  function moveDivider() {
    slide.style.setProperty("--divider", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % left, ${100 - range.value} % right`);
  }
  function show() {
    all(".gallery", viewer).forEach((each) => { each.hidden = each !== gallery(); });
    all(".face-choice button", viewer).forEach((each) => each.setAttribute("aria-pressed", String(each.dataset.face === face)));
    all("button[data-view]", gallery()).forEach((each) => {
      each.setAttribute("aria-pressed", String(each.dataset.view === sides.right.value));
      each.setAttribute("aria-label", `${describe(each)}: put on the right`);
    });
    const last = all("button[data-view]", gallery()).pop().querySelector("img");
    const captions = [];
    Object.entries(sides).forEach(([side, select]) => {
      const button = view(select.value);
      const image = find(`.slide .${side}`);
      image.src = button.querySelector("img").src;
      image.alt = `${side}: ${describe(button)}`;
      captions.push(`${side[0].toUpperCase()}${side.slice(1)}: ${describe(button)}`);
      const canvas = find(`.error-${side}`);
      drawError(canvas, image, last).then((mean) => {
        const text = `${nameOf(button)}: mean error ${mean.toFixed(1)} grey levels`;
        canvas.setAttribute("aria-label", `Error map of ${text}`);
        find(`.error-${side}-caption`).textContent = text;
      }).catch(() => {});  // another image was chosen meanwhile
    });
    find(".compare figcaption").textContent = `Face ${gallery().dataset.name}. ${captions.join(". ")}.`;
  }

  range.addEventListener("input", moveDivider);
  Object.values(sides).forEach((select) => select.addEventListener("change", show));
  all(".face-choice button", viewer).forEach((button) => button.addEventListener("click", () => { face = button.dataset.face; show(); }));
  all("button[data-view]", viewer).forEach((button) => button.addEventListener("click", () => { sides.right.value = button.dataset.view; show(); }));
  const drag = (event) => {
    const box = slide.getBoundingClientRect();
    range.value = Math.round(100 * (event.clientX - box.left) / box.width);
    moveDivider();
  };
  slide.addEventListener("pointerdown", (event) => { slide.setPointerCapture(event.pointerId); drag(event); });
  slide.addEventListener("pointermove", (event) => { if (slide.hasPointerCapture(event.pointerId)) drag(event); });
  moveDivider();
  show();
});
