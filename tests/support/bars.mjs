// Groups of bars as an SVG, with nothing but text: panels below each other, a bar for each series in each group (down from
// 0 if it is negative), and a thin line over it from its lowest to its highest value.

const width = 860;
const panelHeight = 170;
const left = 70;
const right = 20;
const gap = 74;
const colours = ['#57606a', '#1f6feb', '#d1570b', '#2da44e', '#8250df', '#bf3989', '#9a6700', '#0a7ea4'];

/** A round number not below `value`. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value);
}

const short = (value) => {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))} M`;
  return value >= 1e4 ? `${Number((value / 1e3).toPrecision(3))} k` : String(Number(value.toPrecision(3)));
};

function bar({median, min, max}, x, barWidth, y, colour) {
  const middle = (x + barWidth / 2).toFixed(1);
  return `<rect x="${x.toFixed(1)}" y="${y(Math.max(median, 0)).toFixed(1)}" width="${(barWidth - 1).toFixed(1)}" height="${Math.abs(y(0) - y(median)).toFixed(1)}" fill="${colour}"/>` +
    `<line x1="${middle}" x2="${middle}" y1="${y(min).toFixed(1)}" y2="${y(max).toFixed(1)}" stroke="#1f2328"/>`;
}

function panel({title, groups, series}, top) {
  const inner = width - left - right;
  const highest = roundUp(Math.max(...series.flatMap(({values}) => values.map((value) => value?.max ?? 0)), 1e-6));
  const least = Math.min(...series.flatMap(({values}) => values.map((value) => value?.min ?? 0)), 0);
  const lowest = least < 0 ? -roundUp(-least) : 0;
  const y = (value) => top + (panelHeight * (highest - value)) / (highest - lowest);
  const groupWidth = inner / groups.length;
  const barWidth = (groupWidth * 0.84) / series.length;
  const lines = [0, 0.5, 1].map((part) => `<line x1="${left}" x2="${width - right}" y1="${y(highest * part)}" y2="${y(highest * part)}" stroke="#d0d7de"/>` +
    `<text x="${left - 8}" y="${y(highest * part) + 4}" text-anchor="end">${short(highest * part)}</text>`);
  const bars = series.flatMap(({values}, i) => values.flatMap((value, group) =>
    (value ? [bar(value, left + groupWidth * (group + 0.08) + barWidth * i, barWidth, y, colours[i])] : [])));
  const names = groups.map((name, group) => `<text x="${left + groupWidth * (group + 0.5)}" y="${top + panelHeight + 16}" text-anchor="middle">${name}</text>`);
  const legend = series.map(({name}, i) => `<tspan fill="${colours[i]}" dx="${i ? 14 : 0}">■ ${name}</tspan>`).join('');
  return [`<text x="${left}" y="${top - 26}" font-weight="bold">${title}</text>`, `<text x="${left}" y="${top - 9}">${legend}</text>`, ...lines, ...bars, ...names].join('\n');
}

/** `panels`: [{title, groups: [name], series: [{name, values: [{median, min, max} or nothing, one a group]}]}] */
export function barsSvg(heading, panels) {
  const height = 50 + panels.length * (panelHeight + gap);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<rect width="${width}" height="${height}" fill="#ffffff"/>
<text x="${left}" y="22" font-size="14">${heading}</text>
${panels.map((each, i) => panel(each, 76 + i * (panelHeight + gap))).join('\n')}
</svg>
`;
}
