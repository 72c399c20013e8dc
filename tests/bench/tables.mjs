// Cells and tables of Markdown for the report.
import {median, summary} from './measuring.mjs';

/** 12345 -> "12 345" */
export const count = (value) => Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, ' ');

/** Large numbers whole, small ones with `digits` behind the point. */
export const number = (value, digits = 0) => (digits === 0 || Math.abs(value) >= 1000 ? count(value) : value.toFixed(digits));

/** "(min–max)" */
const range = ({min, max}, digits) => `(${number(min, digits)}${min < 0 ? ' to ' : '–'}${number(max, digits)})`;

/** "median (min–max)" */
export function span(values, digits = 0) {
  if (!values) return '–';
  return `${number(values.median, digits)} ${range(values, digits)}`;
}

/** The ratio of two lists' medians, with the lowest and highest ratio within one round. */
export function ratio(above, below) {
  const pairs = above.map((value, i) => [value, below[i]]).filter(([a, b]) => Number.isFinite(a) && b > 0);
  if (!pairs.length) return undefined;
  const {min, max} = summary(pairs.map(([a, b]) => a / b));
  return {median: median(pairs.map(([a]) => a)) / median(pairs.map(([, b]) => b)), min, max};
}

/** A span, bold if its median misses `target`. */
export function targetCell(values, target, {atMost = false, digits = 2} = {}) {
  if (!values) return '–';
  const text = number(values.median, digits);
  const missed = target !== undefined && (atMost ? values.median > target : values.median < target);
  return `${missed ? `**${text}**` : text} ${range(values, digits)}`;
}

/** How far apart the rounds of these [{name, values: {median, min, max}}] were, in one sentence; '' if there are none. */
export function noiseOf(about, figures) {
  const spreads = figures.filter(({values}) => values?.median > 0).map(({name, values}) => ({name, spread: (values.max - values.min) / values.median}))
    .sort((a, b) => a.spread - b.spread);
  if (!spreads.length) return '';
  const percent = ({spread}) => `${(spread * 100).toFixed(0)} %`;
  return `Noise: ${about} ${percent(spreads[0])} to ${percent(spreads.at(-1))} of their median apart, ${percent(spreads[spreads.length >> 1])} in the middle; ` +
    `most with ${spreads.at(-1).name}.`;
}

export function table(heads, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(heads), line(heads.map((_, i) => (i ? '--:' : '---'))), ...rows.map(line)].join('\n');
}
