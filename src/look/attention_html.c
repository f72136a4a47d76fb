/* All layers and heads of a sentence on one page that a browser draws: a map of every head, one head large, and for the token under
 * the pointer where it looks. The weights travel as 16 bits each of the lower triangles, in base64; everything is in the file. */
#include "labels.h"
#include "page.h"
#include "record.h"

#include <string.h>

static const char STYLE[] =
    "<style>body{max-width:none}main{display:flex;flex-wrap:wrap;gap:1.5rem;align-items:flex-start}"
    "main>div{max-width:100%;min-width:0;overflow-x:auto;padding:3px}#grid{display:grid;gap:3px}#grid canvas{width:44px;height:44px;cursor:pointer;outline:1px solid var(--rule);image-rendering:pixelated}"
    "#grid canvas[aria-pressed=true]{outline:3px solid #D55E00}#grid span{font-size:12px;color:var(--soft);align-self:center;"
    "text-align:center}#words{line-height:2.1;max-width:46rem}#words button{font:inherit;color:inherit;border:1px solid var(--rule);"
    "border-radius:3px;margin:1px;padding:0 .3em;background:none;white-space:pre;cursor:pointer}#words .at{outline:3px solid #D55E00}"
    "#map{touch-action:none;max-width:100%}label{margin-right:1rem}output{display:block;min-height:1.6em}"
    "#ramp{display:inline-block;width:10rem;height:.8em;border:1px solid var(--rule);vertical-align:middle}</style>\n";

static const char BODY[] =
    "<h1>Attention</h1>\n<p>Rows are tokens that look, columns the tokens looked at; the darker (on a dark page, the brighter) a cell, "
    "the more of the row's attention goes there (by the root of the weight). Choose a head in the grid, point at a token or a cell; the arrow keys walk.</p>\n"
    "<p><label>Show <select id=\"mode\"><option value=\"head\">one head</option><option value=\"layer\">mean of the layer</option>"
    "<option value=\"all\">mean of all</option><option value=\"rollout\">rollout</option></select></label> weight "
    "0 <span id=\"ramp\"></span> <span id=\"top\">1</span></p>\n"
    "<main><div><div id=\"grid\" role=\"group\" aria-label=\"heads by layer\"></div></div><div><h2 id=\"name\"></h2>"
    "<div id=\"words\" role=\"group\" aria-label=\"tokens\"></div><output id=\"says\"></output><canvas id=\"map\"></canvas></div></main>\n";

static const char SCRIPT[] =
    "const bytes=Uint8Array.from(atob(D.weights),c=>c.charCodeAt(0)),W=new Uint16Array(bytes.buffer),T=D.tokens.length,L=D.layers,"
    "H=D.heads,S=T*(T+1)/2,F=D.first;\n"
    "const $=id=>document.getElementById(id),dark=matchMedia('(prefers-color-scheme:dark)');\n"
    "let layer=0,head=0,row=T-1,column=-1,mode='head',one=new Float32Array(S);\n"
    "const hue=()=>dark.matches?[86,180,233]:[0,114,178],paper=()=>dark.matches?[22,24,28]:[255,255,255];\n"
    "const strong=w=>Math.sqrt(Math.min(1,w));\n"
    "const at=(i,j)=>i*(i+1)/2+j;\n"
    "function mean(out,first,behind){out.fill(0);const n=(behind-first)*65535;for(let h=first;h<behind;h++){const o=h*S;"
    "for(let i=0;i<S;i++)out[i]+=W[o+i]/n}return out}\n"
    "function rollout(out){let r=new Float32Array(S),m=new Float32Array(S),n=new Float32Array(S);for(let i=0;i<T;i++)r[at(i,i)]=1;"
    "for(let l=0;l<L;l++){mean(m,l*H,(l+1)*H);n.fill(0);for(let i=0;i<T;i++)for(let k=0;k<=i;k++){const w=(m[at(i,k)]+(i===k))/2;"
    "for(let j=0;j<=k;j++)n[at(i,j)]+=w*r[at(k,j)]}[r,n]=[n,r]}out.set(r)}\n"
    "function choose(){if(mode==='head')mean(one,layer*H+head,layer*H+head+1);else if(mode==='layer')mean(one,layer*H,(layer+1)*H);"
    "else if(mode==='all')mean(one,0,L*H);else rollout(one)}\n"
    "function paint(canvas,get,cell){const n=T*cell,c=canvas.getContext('2d'),p=paper(),u=hue(),d=c.createImageData(T,T);"
    "for(let i=0;i<T;i++)for(let j=0;j<T;j++){const w=j>i?0:strong(get(i,j)),o=4*(i*T+j);for(let k=0;k<3;k++)"
    "d.data[o+k]=p[k]+(u[k]-p[k])*w;d.data[o+3]=j>i?0:255}\n"
    "if(cell===1){canvas.width=canvas.height=T;c.putImageData(d,0,0);return}const s=document.createElement('canvas');s.width=s.height=T;"
    "s.getContext('2d').putImageData(d,0,0);c.imageSmoothingEnabled=false;c.drawImage(s,M,M,n,n)}\n"
    "const M=96,cell=Math.max(6,Math.min(28,Math.floor(720/T)));\n"
    "function map(){const c=$('map'),x=c.getContext('2d'),ink=getComputedStyle(document.body).color;c.width=c.height=M+T*cell+8;"
    "paint(c,(i,j)=>one[at(i,j)],cell);x.fillStyle=ink;x.font=Math.min(13,cell-1)+'px system-ui,sans-serif';x.textBaseline='middle';"
    "const skip=cell>=10?1:2;for(let i=0;i<T;i+=skip){const w=D.tokens[i].slice(0,12);x.textAlign='right';"
    "x.fillText(w,M-5,M+(i+.5)*cell);x.save();x.translate(M+(i+.5)*cell,M-5);x.rotate(-Math.PI/2);x.textAlign='left';"
    "x.fillText(w,0,0);x.restore()}x.strokeStyle='#D55E00';x.lineWidth=2;x.strokeRect(M,M+row*cell,(row+1)*cell,cell);"
    "if(column>=0&&column<=row)x.strokeRect(M+column*cell,M+row*cell,cell,cell)}\n"
    "function words(){[...$('words').children].forEach((b,j)=>{const w=j<=row?strong(one[at(row,j)]):0,[r,g,v]=hue();"
    "b.style.background=`rgba(${r},${g},${v},${w})`;b.className=j===row?'at':''});let best=0;for(let j=0;j<=row;j++)"
    "if(one[at(row,j)]>one[at(row,best)])best=j;const j=column>=0&&column<=row?column:best;$('says').textContent="
    "`${row} \\u201c${D.tokens[row]}\\u201d looks at ${j} \\u201c${D.tokens[j]}\\u201d with weight ${one[at(row,j)].toFixed(4)}`}\n"
    "function show(){choose();$('name').textContent=mode==='head'?`Layer ${F+layer}, head ${head}`:mode==='layer'?`Layer ${F+layer}, "
    "mean of ${H} heads`:mode==='all'?`Mean of all ${D.whole?'layers and heads':'heads of the layer'}`:`Rollout over ${D.whole?'all layers':'the layer'}`;"
    "document.querySelectorAll('#grid canvas').forEach((c,i)=>c.setAttribute('aria-pressed',i===layer*H+head));map();words()}\n"
    "let due=false;function point(r,c){if(r===row&&c===column)return;row=r;column=c;if(!due){due=true;requestAnimationFrame(()=>"
    "{due=false;map();words()})}}\n"
    "function grid(){const g=$('grid');g.textContent='';g.style.gridTemplateColumns=`2.5em repeat(${H},44px)`;const "
    "text=t=>{const s=document.createElement('span');s.textContent=t;g.append(s)};text('');for(let h=0;h<H;h++)text(h);"
    "for(let l=0;l<L;l++){text(F+l);for(let h=0;h<H;h++){const c=document.createElement('canvas'),o=(l*H+h)*S;c.tabIndex=0;"
    "c.setAttribute('role','button');c.setAttribute('aria-label',`layer ${F+l}, head ${h}`);paint(c,(i,j)=>W[o+at(i,j)]/65535,1);"
    "c.onclick=()=>{layer=l;head=h;if(mode!=='layer')mode='head';$('mode').value=mode;show()};c.onkeydown=e=>{if(e.key==='Enter'||"
    "e.key===' '){e.preventDefault();c.onclick()}};g.append(c)}}}\n"
    "D.tokens.forEach((t,i)=>{const b=document.createElement('button');b.textContent=t;b.dir='auto';b.onmouseenter=b.onfocus=()=>point(i,-1);"
    "$('words').append(b)});\n"
    "$('map').onpointermove=e=>{const b=$('map').getBoundingClientRect(),k=$('map').width/b.width,i=Math.floor(((e.clientY-b.top)*k-M)"
    "/cell),j=Math.floor(((e.clientX-b.left)*k-M)/cell);if(i>=0&&i<T)point(i,j>=0&&j<=i?j:-1)};\n"
    "document.onkeydown=e=>{if(e.target.tagName==='SELECT')return;const step={ArrowUp:[0,-1],ArrowDown:[0,1],ArrowLeft:[-1,0],"
    "ArrowRight:[1,0]}[e.key];if(!step)return;e.preventDefault();head=(head+step[0]+H)%H;layer=(layer+step[1]+L)%L;show()};\n"
    "$('mode').onchange=e=>{mode=e.target.value;show()};\n"
    "function theme(){$('ramp').style.background=`linear-gradient(90deg,${[0,.02,.05,.1,.2,.35,.5,.75,1].map(w=>{const p=paper(),"
    "u=hue();return `rgb(${p.map((v,k)=>v+(u[k]-v)*strong(w))}) ${100*w}%`})})`;grid();show()}\n"
    "dark.onchange=theme;theme();document.body.dataset.ready='yes';\n";

static int put_base64(const uint8_t *data, size_t length, struct lm_bytes *out, loam_error *error)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int code = lm_bytes_reserve(out, length / 3 * 4 + 8, error);
    for (size_t i = 0; i < length && !code; i += 3) {
        const size_t left = length - i;
        const uint32_t bits = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);
        const char four[] = {digits[bits >> 18], digits[bits >> 12 & 63], left > 1 ? digits[bits >> 6 & 63] : '=',
                             left > 2 ? digits[bits & 63] : '='};
        code = lm_bytes_append(out, four, 4, error);
    }
    return code;
}

/* The lower triangles of all heads, little-endian 16 bits each. */
static int put_weights(const struct lm_record *record, struct lm_bytes *out, loam_error *error)
{
    const int64_t t = record->count, triangle = t * (t + 1) / 2, maps = record->shown_layers * record->heads;
    uint8_t *packed = lm_alloc((size_t)(maps * triangle), 2, error);
    if (!packed)
        return LOAM_ENOMEM;
    size_t used = 0;
    for (int64_t map = 0; map < maps; map++)
        for (int64_t i = 0; i < t; i++)
            for (int64_t j = 0; j <= i; j++) {
                const float weight = record->attention[(map * t + i) * t + j];
                const unsigned number = weight > 0 ? (unsigned)(weight * 65535.0F + 0.5F) : 0;
                packed[used++] = (uint8_t)(number & 255);
                packed[used++] = (uint8_t)(number >> 8);
            }
    int code = put_base64(packed, used, out, error);
    lm_free(packed);
    return code;
}

/* JSON inside <script>: no "</script>" or "<!--" can stand in it. */
static int put_tokens(const struct lm_subject *subject, struct lm_bytes *out, loam_error *error)
{
    char **labels;
    struct lm_bytes json = {0};
    struct lm_json_writer writer = lm_json_writer(&json, -1);
    int code = lm_labels_make(subject->tokenizer, subject->ids, subject->count, &labels, error);
    if (code)
        return code;
    lm_json_begin_array(&writer);
    for (int64_t i = 0; i < subject->count; i++)
        lm_json_text(&writer, labels[i]);
    lm_json_end_array(&writer);
    code = lm_json_writer_finish(&writer, error);
    for (size_t i = 0; i < json.length && !code; i++)
        code = json.data[i] == '<' ? lm_bytes_append(out, "\\u003c", 6, error) : lm_bytes_append(out, json.data + i, 1, error);
    lm_bytes_free(&json);
    lm_free_strings(labels, (size_t)subject->count);
    return code;
}

/* Beyond this a browser neither loads nor draws it at once. */
static int check_size(const struct lm_subject *subject, int64_t layers, loam_error *error)
{
    enum { MOST_MB = 50 };
    const struct lm_config *c = lm_model_config(subject->model);
    const double layer = (double)c->heads * (double)subject->count * (double)(subject->count + 1) / 2 * 2 * 4 / 3 / 1e6;
    if ((double)layers * layer <= MOST_MB)
        return LOAM_OK;
    if (layers > 1 && layer <= MOST_MB)
        return lm_fail(error, LOAM_EUSAGE, "all %lld layers with %lld heads and %lld tokens would be a page of %.0f MB, and a browser draws up "
                       "to %d MB well; choose one with --layer, or look at fewer tokens", (long long)layers, (long long)c->heads,
                       (long long)subject->count, (double)layers * layer, MOST_MB);
    return lm_fail(error, LOAM_EUSAGE, "one layer with %lld heads and %lld tokens would be a page of %.0f MB, and a browser draws up to %d MB "
                   "well; look at fewer tokens", (long long)c->heads, (long long)subject->count, layer, MOST_MB);
}

int lm_look_attention_html(const struct lm_subject *subject, int64_t layer, struct lm_bytes *out, loam_error *error)
{
    const struct lm_config *c = lm_model_config(subject->model);
    const struct lm_record_options options = {.attention = true, .first_layer = layer < 0 ? 0 : layer, .layers = layer < 0 ? c->layers : 1};
    struct lm_record record;
    int code = layer >= c->layers ? lm_fail(error, LOAM_EUSAGE, "layer %lld: the model has layers 0 to %lld", (long long)layer,
                                            (long long)c->layers - 1) : check_size(subject, options.layers, error);
    if (!code)
        code = lm_record_run(subject->model, subject->ids, subject->count, &options, &record, error);
    if (code)
        return code;
    code = lm_html_begin("Attention", out, error);
    if (!code)
        code = lm_bytes_append(out, STYLE, sizeof STYLE - 1, error);
    if (!code)
        code = lm_bytes_append(out, BODY, sizeof BODY - 1, error);
    if (!code)
        code = lm_bytes_format(out, error, "<script>\nconst D={first:%lld,whole:%s,layers:%lld,heads:%lld,tokens:",
                               (long long)record.first_layer, layer < 0 ? "true" : "false", (long long)record.shown_layers,
                               (long long)record.heads);
    if (!code)
        code = put_tokens(subject, out, error);
    if (!code)
        code = lm_bytes_format(out, error, ",weights:\"");
    if (!code)
        code = put_weights(&record, out, error);
    if (!code)
        code = lm_bytes_format(out, error, "\"};\n");
    if (!code)
        code = lm_bytes_append(out, SCRIPT, sizeof SCRIPT - 1, error);
    if (!code)
        code = lm_bytes_format(out, error, "</script></body></html>\n");
    lm_record_free(&record);
    return code;
}
