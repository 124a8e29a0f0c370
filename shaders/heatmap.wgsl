// Attention maps: rows of cells in a grid, or one matrix. Twin of src/render/raster.rs, line by line: change both.
//
// Values are never computed with: texels are the bits of f16, compared as whole numbers and looked up as colours, and
// the tables say which texels a pixel shows. So every GPU gives the same picture, and the CPU too.

// The target stores linear light instead of what egui calls gamma space.
override srgb_target: bool = false;

// In the order of Draw::words in src/render/plan.rs, which says what they mean.
struct Draw {
    origin_x: i32,
    origin_y: i32,
    pitch: u32,
    width: u32,
    height: u32,
    outline: u32,
    keys: u32,
    queries: u32,
    styles: u32,
    level_offset: u32,
    side: u32,
    row_words: u32,
    head_words: u32,
    flags: u32,
    line: u32,
    mark: u32,
    masked: u32,
    screen_width: u32,
    screen_height: u32,
    before: u32,
    after: u32,
    unused_0: u32,
    unused_1: u32,
    unused_2: u32,
}

const HIDE_FIRST_KEY = 1u;
const TEXEL_IS_CELL = 2u;

const STYLE_WORDS = 2u;

// Entries of the tables, as in src/render/geometry.rs.
const FIRST = 0xffffu;
const NEXT_SHIFT = 16u;
const LINE = 0x20000u;
const MARKED = 0x40000u;
const OUTSIDE = 0x80000u;

@group(0) @binding(0) var<uniform> draw: Draw;
@group(0) @binding(1) var<storage, read> tables: array<u32>;
@group(0) @binding(2) var<storage, read> lut: array<u32>;
@group(1) @binding(0) var<storage, read> texels: array<u32>;

struct Vertex {
    @builtin(position) position: vec4<f32>,
    @location(0) @interpolate(flat) cell: u32,
}

fn cell_origin(cell: u32) -> vec2<i32> {
    return vec2<i32>(draw.origin_x + i32(cell * draw.pitch), draw.origin_y);
}

// A strip of four corners; an instance is a cell. The viewport is the whole screen.
@vertex
fn vertex(@builtin(vertex_index) corner: u32, @builtin(instance_index) cell: u32) -> Vertex {
    let size = vec2<u32>(draw.width * (corner & 1u), draw.height * (corner >> 1u));
    let pixel = vec2<f32>(cell_origin(cell)) + vec2<f32>(size);
    let screen = vec2<f32>(f32(draw.screen_width), f32(draw.screen_height));
    let at = pixel / screen * 2.0 - 1.0;
    return Vertex(vec4<f32>(at.x, -at.y, 0.0, 1.0), cell);
}

fn half_at(cell: u32, row: u32, column: u32) -> u32 {
    let word = cell * draw.head_words + draw.level_offset + row * draw.row_words + (column >> 1u);
    return (texels[word] >> (16u * (column & 1u))) & 0xffffu;
}

fn greater(a: u32, b: u32) -> u32 {
    return select(a, b, (b & 0x7fffu) > (a & 0x7fffu));
}

fn color(half_bits: u32) -> u32 {
    let index = (lut[256u + (half_bits >> 2u)] >> (8u * (half_bits & 3u))) & 0xffu;
    return lut[index];
}

fn channels(rgb: u32) -> vec3<u32> {
    return vec3<u32>(rgb, rgb >> 8u, rgb >> 16u) & vec3<u32>(0xffu);
}

fn over(below: vec3<u32>, overlay: u32) -> vec3<u32> {
    let alpha = overlay >> 24u;
    return (below * (255u - alpha) + channels(overlay) * alpha + vec3<u32>(127u)) / vec3<u32>(255u);
}

fn linear_from_gamma(rgb: vec3<f32>) -> vec3<f32> {
    let low = rgb / 12.92;
    let high = pow((rgb + 0.055) / 1.055, vec3<f32>(2.4));
    return select(high, low, rgb <= vec3<f32>(0.04045));
}

@fragment
fn fragment(in: Vertex) -> @location(0) vec4<f32> {
    let at = vec2<u32>(vec2<i32>(floor(in.position.xy)) - cell_origin(in.cell));
    let keys = tables[draw.keys + at.x];
    let queries = tables[draw.queries + at.y];
    if ((keys | queries) & OUTSIDE) != 0u {
        discard;
    }
    let key = keys & FIRST;
    let last_key = key + ((keys >> NEXT_SHIFT) & 1u);
    let query = queries & FIRST;
    let last_query = query + ((queries >> NEXT_SHIFT) & 1u);
    let hide_first_key = (draw.flags & HIDE_FIRST_KEY) != 0u;
    let masked = key > last_query + draw.after
        || query > last_key + draw.before
        || (hide_first_key && (draw.flags & TEXEL_IS_CELL) != 0u && last_key == 0u);
    var bits = draw.masked;
    if !masked {
        var best = greater(half_at(in.cell, query, key), half_at(in.cell, query, last_key));
        best = greater(best, greater(half_at(in.cell, last_query, key), half_at(in.cell, last_query, last_key)));
        if key == 0u && !hide_first_key {
            best = greater(best, greater(half_at(in.cell, draw.side, query), half_at(in.cell, draw.side, last_query)));
        }
        bits = color(best);
    }
    var rgb = channels(bits);
    if ((keys | queries) & MARKED) != 0u {
        rgb = over(rgb, draw.mark);
    }
    if ((keys | queries) & LINE) != 0u {
        rgb = over(rgb, draw.line);
    }
    let style = draw.styles + STYLE_WORDS * in.cell;
    rgb = over(rgb, tables[style]);
    let edge = min(min(at.x, at.y), min(draw.width - 1u - at.x, draw.height - 1u - at.y));
    if edge < draw.outline {
        rgb = over(rgb, tables[style + 1u]);
    }
    let gamma = vec3<f32>(rgb) / 255.0;
    return vec4<f32>(select(gamma, linear_from_gamma(gamma), srgb_target), 1.0);
}
