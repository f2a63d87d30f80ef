"""The look of the page: no font, script or picture from elsewhere; light and dark by the system; A4 when printed."""

STYLE = """
:root { color-scheme: light dark; --paper:#fff; --ground:#f3f5f7; --ink:#17212b; --soft:#536270; --line:#d5dce3;
  --accent:#0b5c8a; --warn:#8a4b00; --warnbg:#fff4e2; --okbg:#e7f4ec; --ok:#1c6b3a; --bar:#4a90b8; }
@media (prefers-color-scheme: dark) { :root { --paper:#18212a; --ground:#10161c; --ink:#e6ecf1; --soft:#a3b1be;
  --line:#33414e; --accent:#7cc4ec; --warn:#ffc46b; --warnbg:#33270f; --okbg:#12301f; --ok:#8fd8ab; --bar:#4a90b8; } }
* { box-sizing: border-box; }
body { margin:0; background:var(--ground); color:var(--ink); font:16px/1.5 system-ui,"Segoe UI",Roboto,sans-serif; }
a { color:var(--accent); } a:focus-visible, summary:focus-visible,
  .scroll:focus-visible { outline:3px solid var(--accent);
  outline-offset:2px; }
.heard { position:absolute; width:1px; height:1px; overflow:hidden; clip-path:inset(50%); }
.skip { position:absolute; left:-999px; } .skip:focus { position:static; padding:.5rem; display:block; }
main, header, footer { max-width:66rem; margin:0 auto; padding:0 1rem; }
header { padding-top:1.25rem; } h1 { font-size:1.6rem; margin:0; } h2 { font-size:1.2rem; margin:0 0 .6rem; }
h3 { font-size:1.02rem; margin:.8rem 0 .35rem; }
.card h3 { margin-top:0; }
.meta { color:var(--soft); margin:.15rem 0 .6rem; }
.research { border-left:4px solid var(--warn); background:var(--warnbg); padding:.5rem .8rem; margin:.6rem 0 0; }
nav ul { display:flex; flex-wrap:wrap; gap:.3rem 1.1rem; list-style:none; margin:.8rem 0 0; padding:0; }
section { background:var(--paper); border:1px solid var(--line); border-radius:8px; padding:1rem 1.1rem;
  margin:1rem 0; }
.answers { display:grid; grid-template-columns:repeat(auto-fit,minmax(15rem,1fr)); gap:.8rem; padding:0;
  margin:0 0 .8rem;
  list-style:none; }
.answers li { border:1px solid var(--line); border-radius:8px; padding:.7rem .8rem; }
.big { font-size:1.5rem; font-weight:650; line-height:1.25; }
.soft { color:var(--soft); font-size:.92rem; }
.tag { display:inline-block; border-radius:1rem; padding:0 .6rem; font-size:.85rem; border:1px solid var(--line);
  white-space:nowrap; }
.tag.agree { background:var(--okbg); color:var(--ok); border-color:transparent; }
.tag.disagree, .tag.doubt { background:var(--warnbg); color:var(--warn); border-color:transparent; }
ul.findings { margin:.2rem 0 0; padding-left:1.2rem; } ul.findings li { margin:.25rem 0; }
li.warning::marker { color:var(--warn); content:"\\26A0\\00A0 "; }
.scroll { overflow-x:auto; } table { border-collapse:collapse; width:100%; font-size:.92rem; }
caption { text-align:left; color:var(--soft); padding-bottom:.3rem; }
th, td { text-align:left; padding:.32rem .6rem .32rem 0; border-bottom:1px solid var(--line); vertical-align:top; }
thead th { border-bottom:2px solid var(--line); white-space:nowrap; }
  td.number { font-variant-numeric:tabular-nums; white-space:nowrap; }
tr.aside td, tr.aside th { color:var(--soft); } tr.used th { border-left:4px solid var(--accent);
  padding-left:.5rem; }
tbody th { padding-left:.65rem; white-space:nowrap; } td { overflow-wrap:anywhere; min-width:4rem; }
figure { margin:.6rem 0 0; } figure img { width:100%; max-width:660px; height:auto; display:block; background:#000;
  border-radius:4px; }
figcaption { color:var(--soft); font-size:.9rem; margin-top:.25rem; max-width:660px; }
.bars { display:grid; grid-template-columns:max-content 1fr max-content; gap:.2rem .6rem; align-items:center;
  max-width:32rem;
  margin:.5rem 0; }
.bar { height:.7rem; background:var(--bar); border-radius:2px; min-width:1px; }
.card { border-top:1px solid var(--line); padding:.9rem 0 .3rem; } .card:first-of-type { border-top:0;
  padding-top:0; }
.pair { display:grid; grid-template-columns:repeat(auto-fit,minmax(19rem,1fr)); gap:1rem; }
td.wide { min-width:15rem; } td:has(.tag) { overflow-wrap:normal; } td.done { min-width:9rem; }
.beside { display:grid; grid-template-columns:minmax(0,3fr) minmax(15rem,2fr); gap:1.2rem; }
@media (max-width:48rem) { .beside { grid-template-columns:minmax(0,1fr); } }
details { margin:.5rem 0; } summary { cursor:pointer; color:var(--accent); }
footer { color:var(--soft); padding-bottom:2rem; font-size:.9rem; }
dl { display:grid; grid-template-columns:max-content 1fr; gap:.2rem 1rem; margin:0; } dd { margin:0;
  overflow-wrap:anywhere; }
@media print { @page { size:A4; margin:14mm; } :root { --paper:#fff; --ground:#fff; --ink:#000; --soft:#444;
  --line:#bbb;
    --warnbg:#fff; --okbg:#fff; --accent:#000; --warn:#000; --ok:#000; }
  body { font-size:10pt; background:#fff; color:#000; } nav, .skip { display:none; } main, header,
  footer { max-width:none; padding:0; }
  section { border:0; border-top:1px solid var(--line); border-radius:0; padding:.6rem 0; margin:.4rem 0; }
  figure, .card, .answers li, tr { break-inside:avoid; } h2, h3 { break-after:avoid; }
  .scroll { overflow:visible; }
  figure img { max-width:150mm; }
  .beside { grid-template-columns:3fr 2fr; } td.wide { min-width:42mm; } td.done { min-width:30mm; }
  td .soft { font-size:8pt; } tbody tr:first-child { break-before:avoid; }
  .tag { white-space:normal; overflow-wrap:normal; padding:0; border:0; font-size:inherit; }
  #series-note { break-after:avoid; } table { font-size:8.5pt; }
  .bar { print-color-adjust:exact;
  -webkit-print-color-adjust:exact; } }
"""
