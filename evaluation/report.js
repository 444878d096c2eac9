"use strict";
// Tables sort by the column whose heading is pressed; agents' rows single out their curves; differences are shown
// against the agent that is chosen. Without any of this the page says the same.

const said = document.getElementById("said");

function sortTable(table, column) {
  const heads = [...table.tHead.rows[0].cells], head = heads[column], body = table.tBodies[0];
  const value = row => row.cells[column].dataset.value;
  const words = [...body.rows].some(row => isNaN(value(row)));
  const rising = head.getAttribute("aria-sort") === "descending" || (words && head.getAttribute("aria-sort") !== "ascending");
  heads.forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const direction = rising ? 1 : -1;
  const rows = [...body.rows].sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === "" || y === "") return (x === "") - (y === "");
    return direction * (words ? x.localeCompare(y) : x - y);
  });
  body.append(...rows);
  said.textContent = `Sorted by ${head.textContent.trim()}, ${rising ? "ascending" : "descending"}.`;
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = head.querySelector("button");
    if (button) button.addEventListener("click", () => sortTable(table, column));
  });
  const section = table.closest("section"), picture = section && section.querySelector("figure.curves svg");
  if (!picture) continue;
  const choose = row => {
    picture.classList.toggle("choosing", row !== null);
    for (const curve of picture.querySelectorAll(".curve")) {
      curve.classList.toggle("chosen", row !== null && curve.classList.contains(row.dataset.curve));
    }
  };
  for (const row of table.tBodies[0].rows) {
    if (!row.dataset.curve) continue;
    row.addEventListener("mouseenter", () => choose(row));
    row.addEventListener("mouseleave", () => choose(null));
  }
}

for (const select of document.querySelectorAll("select.against")) {
  const table = document.getElementById(select.dataset.table);
  const differences = JSON.parse(document.getElementById(select.dataset.numbers).textContent);
  const number = x => (Math.abs(x) < 0.0005 ? 0 : x).toFixed(3).replace("-", "−");
  const end = x => (Math.abs(x) < 0.005 ? 0 : x).toFixed(2).replace("-", "−");
  const show = () => {
    for (const row of table.tBodies[0].rows) {
      const cell = row.querySelector("td.difference"), found = (differences[row.dataset.agent] || {})[select.value];
      cell.replaceChildren();
      cell.dataset.value = found ? found[0] : "";
      if (!found) { cell.textContent = "–"; continue; }
      const interval = document.createElement("span");
      interval.className = "interval";
      interval.textContent = found[1] === null ? "[–, –]" : `[${end(found[1])}, ${end(found[2])}]`;
      cell.append(number(found[0]) + (found[3] ? " " : " (not paired) "), interval);
    }
  };
  select.disabled = false;
  select.addEventListener("change", show);
}

// A printed page has no details to open.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(one => (one.open = true)));
