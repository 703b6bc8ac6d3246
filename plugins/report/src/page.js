(() => {
  const all = (css, from = document) => [...from.querySelectorAll(css)];
  const root = document.documentElement;
  document.getElementById("theme").onclick = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };

  const pr = document.getElementById("pr");
  for (const item of all("[data-n]", pr).filter((e) => e.tagName === "LI")) {
    const set = (on) => {
      pr.classList.toggle("focus", on);
      for (const line of all("path[data-n]", pr)) line.classList.toggle("hot", on && line.dataset.n === item.dataset.n);
    };
    item.onmouseenter = item.onfocus = () => set(true);
    item.onmouseleave = item.onblur = () => set(false);
  }

  const form = document.getElementById("controls");
  if (!form) return;
  const gallery = document.getElementById("gallery");
  const cards = all(".card", gallery);
  const { least, klass, order } = form.elements;
  least.value = least.dataset.value;

  // A box below the least score is not there; a true box is missed when the box that took it is not there.
  const look = (card, score, cls) => {
    const n = { right: 0, wrong: 0, missed: 0, any: 0 };
    for (const box of all("g", card)) {
      const { s, c, v } = box.dataset;
      const mine = cls === "" || c === cls;
      const there = s !== undefined && Number(s) >= score;
      const found = v !== undefined;
      box.classList.toggle("off", !mine || (found && !there));
      if (!found) box.classList.toggle("lost", !there);
      if (!mine || box.classList.contains("label")) continue;
      if (!found) {
        n.any += 1;
        if (!there) n.missed += 1;
      } else if (there) {
        n.any += 1;
        n[v] += 1;
      }
    }
    return n;
  };

  const update = () => {
    const score = Number(least.value);
    const want = form.elements.want.value;
    const total = { right: 0, wrong: 0, missed: 0 };
    let shown = 0;
    for (const card of cards) {
      const n = look(card, score, klass.value);
      for (const kind in total) {
        total[kind] += n[kind];
        const badge = card.querySelector(`.badge[data-n=${kind}]`);
        badge.hidden = n[kind] === 0;
        badge.firstChild.textContent = n[kind];
      }
      card.hidden = want ? n[want] === 0 : klass.value !== "" && n.any === 0;
      card.bad = n.wrong + n.missed;
      card.rank = card.bad - n.right / 1000;
      shown += card.hidden ? 0 : 1;
    }
    for (const kind in total) form.querySelector(`[data-total=${kind}]`).textContent = total[kind];
    form.querySelector('[data-total=""]').textContent = shown;
    form.querySelector("output").textContent = score.toFixed(2);
    document.getElementById("none").hidden = shown > 0;
    const by = { name: () => 0, worst: (a, b) => b.rank - a.rank, best: (a, b) => a.rank - b.rank }[order.value];
    const sorted = [...cards].sort((a, b) => by(a, b) || a.dataset.order - b.dataset.order);
    if (sorted.some((card, i) => gallery.children[i] !== card)) gallery.append(...sorted);
  };
  form.oninput = update;
  form.onsubmit = (event) => event.preventDefault();
  update();

  const large = document.getElementById("large");
  const stage = large.querySelector(".stage");
  for (const card of cards) {
    card.querySelector(".frame").onclick = () => {
      const copy = card.cloneNode(true);
      const [w, h] = card.querySelector("svg").getAttribute("viewBox").split(" ").slice(2).map(Number);
      copy.style.setProperty("--w", `${(84 * w) / h}vh`);
      stage.replaceChildren(copy);
      large.showModal();
    };
  }
  large.onclick = (event) => {
    if (event.target === large) large.close();
  };
})();
