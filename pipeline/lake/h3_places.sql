-- From a cell to its place, in plain SQL: the inverse of H3's projection, from first principles.
--
-- H3 lays triangular lattices on the faces of an icosahedron, each seen from the middle of the earth. So a place on a
-- face is a mean of its three corners, with weights that sum to 1, brought to length 1; and the lattice is linear in
-- them. With the axes i, j, k along 1, w, w^2 (w the third root of one) the corners of a face lie at 2, 2 w, 2 w^2, and
-- the digit of resolution r moves a cell by one step of the lattice, turned and 7^(r/2) times smaller. A weight below 0
-- is a place beyond the opposite edge, AB: on the next face, whose third corner is (sqrt(5) - 1) / 2 (A + B) - C. Where
-- the side of a cell of odd resolution crosses the edge of a face, H3 has one more corner.
--
-- What is not geometry is H3's numbering: on which face a base cell is laid, and where. A base cell that is a pentagon
-- lacks one direction, so each other one has a face of its own. Pentagons themselves, twelve of a resolution and all at
-- sea, give NULL.

CREATE OR REPLACE MACRO h3_icosahedron() AS [
    [0.4201524267087102, 0.0781452494027833, 0.9040825506150192],
    [-0.5154559599440415, -0.3817168982871331, 0.7672009925177476],
    [-0.4146822253203352, 0.6559624054348006, 0.6306758078914754],
    [0.3557814025329444, -0.8435800024661783, 0.4022342266029254],
    [0.5188367303273645, 0.8354203803782358, 0.1813318375572621],
    [0.9950094394362415, -0.0913477952764279, 0.0401471758771666],
    [-0.9950094394362415, 0.0913477952764280, -0.0401471758771666],
    [-0.5188367303273643, -0.8354203803782361, -0.1813318375572621],
    [-0.3557814025329447, 0.8435800024661781, -0.4022342266029255],
    [0.4146822253203354, -0.6559624054348006, -0.6306758078914753],
    [0.5154559599440418, 0.3817168982871331, -0.7672009925177475],
    [-0.4201524267087094, -0.0781452494027827, -0.9040825506150195]
];

-- The corners of a face (numbers in h3_icosahedron from 0, hexadecimal), then i, j, k. The key is the base cell times
-- 8, of pentagons plus the first digit that is not 0.
CREATE OR REPLACE MACRO h3_frames() AS MAP {
    0: '021100', 8: '013110', 16: '021000', 24: '013100', 34: '042200', 35: '301020', 36: '102020', 37: '102020',
    38: '102020', 40: '021110', 48: '021001', 56: '013000', 64: '042100', 72: '013010', 80: '021010', 88: '021011',
    96: '035100', 104: '035110', 114: '167200', 115: '013020', 116: '021002', 117: '021002', 118: '021002',
    120: '054100', 128: '042000', 136: '612010', 144: '042001', 152: '013011', 160: '731001', 168: '013001',
    176: '042110', 184: '612001', 194: '042002', 195: '042002', 196: '126020', 197: '248200', 198: '286200',
    200: '612000', 208: '035000', 216: '167100', 224: '054110', 232: '035010', 240: '042011', 248: '054000',
    256: '824010', 264: '042010', 272: '731010', 280: '167110', 288: '731000', 296: '286100', 306: '379200',
    307: '035020', 308: '539020', 309: '539020', 310: '539020', 312: '612101', 320: '731101', 328: '054001',
    336: '035001', 344: '035011', 352: '054010', 360: '612100', 368: '167000', 376: '953001', 384: '824001',
    394: '4A8200', 395: '042020', 396: '248020', 397: '45A200', 398: '4A8200', 400: '824000', 408: '379100',
    416: '286110', 424: '054011', 432: '379110', 440: '731100', 448: '167010', 456: '286000', 466: '59A200',
    467: '59A200', 468: '035002', 469: '45A020', 470: '59A200', 472: '286001', 480: '167001', 488: 'A45010',
    496: '953010', 506: '612200', 507: '612200', 508: 'B76002', 509: '671200', 510: '612200', 512: '953000',
    520: 'A45001', 528: '4A8100', 536: '824101', 544: 'B76011', 552: '953101', 560: '824100', 568: '379000',
    578: '731200', 579: '731200', 580: '671020', 581: '671020', 582: '731200', 584: '379010', 592: '286010',
    600: 'A45000', 608: '59A100', 616: 'B76001', 624: 'B68011', 632: 'B68010', 640: 'B76010', 648: '4A8110',
    656: '59A110', 666: 'B68002', 667: '824200', 668: 'B68002', 669: 'A84020', 670: '824200', 672: '953100',
    680: '4A8000', 688: 'A45101', 696: '4A8001', 704: 'B97001', 712: '379001', 720: 'B76000', 728: 'B97011',
    736: 'B68001', 744: 'B76101', 752: 'A45100', 760: 'B68000', 768: '59A000', 778: '953200', 779: 'B97020',
    780: '793020', 781: '793020', 782: '793020', 784: '59A010', 792: 'B97101', 800: 'B8A010', 808: '4A8010',
    816: 'B8A011', 824: 'B97010', 832: '59A001', 840: 'B97000', 848: 'B76100', 858: 'A45200', 859: 'A45200',
    860: '9A5020', 861: '9A5020', 862: 'A45200', 864: 'B68101', 872: 'B68100', 880: 'BA9011', 888: 'BA9001',
    896: 'B8A001', 904: 'B97100', 912: 'B8A000', 920: 'BA9010', 928: 'BA9101', 938: 'B8A200', 939: 'B8A200',
    940: '76B002', 941: 'B68200', 942: 'B8A200', 944: 'B8A100', 952: 'BA9000', 960: 'B8A101', 968: 'BA9100'
};

-- The digits of a cell, those of resolutions 1 up to its own.
CREATE OR REPLACE MACRO h3_digits(cell) AS list_transform(
    range(1, h3_resolution(cell) + 1), lambda r: (cell >> (3 * (15 - r))) & 7
);

CREATE OR REPLACE MACRO h3_frame(cell) AS coalesce(
    h3_frames()[((cell >> 45) & 127) * 8],
    h3_frames()[((cell >> 45) & 127) * 8 + list_filter(h3_digits(cell), lambda d: d > 0)[1]]
);

-- One step of the lattice of resolution r along i, as x and y.
CREATE OR REPLACE MACRO h3_step(r) AS CASE
    WHEN r % 2 = 0 THEN [7.0::DOUBLE ** (-r / 2), 0.0::DOUBLE]
    ELSE [2.5 * 7.0::DOUBLE ** (-(r + 1) / 2), sqrt(3) / 2 * 7.0::DOUBLE ** (-(r + 1) / 2)]
END;

-- x and y of the digits 0 to 6, in steps of their lattice.
CREATE OR REPLACE MACRO h3_x(digit) AS [0.0::DOUBLE, -0.5, -0.5, -1.0, 1.0, 0.5, 0.5][digit + 1];
CREATE OR REPLACE MACRO h3_y(digit) AS [0.0::DOUBLE, -1.0, 1.0, 0.0, 0.0, -1.0, 1.0][digit + 1] * sqrt(3) / 2;

-- The middle of a cell on the plane of its face, as x and y.
CREATE OR REPLACE MACRO h3_plane(cell) AS list_transform([h3_frame(cell)], lambda f: list_reduce(
    list_transform(h3_digits(cell), lambda d, r: [
        h3_x(d) * h3_step(r)[1] - h3_y(d) * h3_step(r)[2], h3_x(d) * h3_step(r)[2] + h3_y(d) * h3_step(r)[1]
    ]),
    lambda sum, step: [sum[1] + step[1], sum[2] + step[2]],
    [
        f[4]::DOUBLE - (f[5]::DOUBLE + f[6]::DOUBLE) / 2,
        (f[5]::DOUBLE - f[6]::DOUBLE) * sqrt(3) / 2
    ]
))[1];

-- A place on the plane of a face as weights of its corners.
CREATE OR REPLACE MACRO h3_weights(x, y) AS [
    (1 + x) / 3, (1 - x / 2 + y * sqrt(3) / 2) / 3, (1 - x / 2 - y * sqrt(3) / 2) / 3
];

-- Weights `a` and `b` on the face beyond an edge; corners in order k, i, j with the weight of k below 0.
CREATE OR REPLACE MACRO h3_beyond(s, k, i, j) AS {
    a: [s.a[i] + s.a[k], s.a[j] + s.a[k], -s.a[k]],
    b: [s.b[i] + s.b[k], s.b[j] + s.b[k], -s.b[k]],
    corners: [s.corners[i], s.corners[j], list_transform(
        [1, 2, 3], lambda n: (sqrt(5) - 1) / 2 * (s.corners[i][n] + s.corners[j][n]) - s.corners[k][n]
    )]
};

-- The same places, the first of them on its own face.
CREATE OR REPLACE MACRO h3_settle(state) AS list_reduce([state, state, state, state], lambda s, again:
    CASE WHEN list_min(s.a) >= -1e-12 THEN s
    ELSE list_transform([list_grade_up(s.a)], lambda o: h3_beyond(s, o[1], o[2], o[3]))[1] END
);

-- Latitude and longitude of a place of a face.
CREATE OR REPLACE MACRO h3_place(weights, corners) AS list_transform(
    [list_transform([1, 2, 3], lambda n:
        weights[1] * corners[1][n] + weights[2] * corners[2][n] + weights[3] * corners[3][n]
    )],
    lambda p: {lat: degrees(atan2(p[3], sqrt(p[1] ** 2 + p[2] ** 2))), lon: degrees(atan2(p[2], p[1]))}
)[1];

-- The corners of a cell's face.
CREATE OR REPLACE MACRO h3_face(cell) AS list_transform([h3_frame(cell)], lambda f: list_transform(
    [1, 2, 3], lambda n: h3_icosahedron()[strpos('0123456789AB', f[n])]
))[1];

-- The corners of a cell: a side's first one, and where the side crosses the edge of a face, that place.
CREATE OR REPLACE MACRO h3_side(s, is_odd) AS CASE
    WHEN is_odd AND list_min(s.b) < -1e-12 AND s.a[list_grade_up(s.b)[1]] > 1e-12 THEN [
        h3_place(s.a, s.corners),
        list_transform(
            [s.a[list_grade_up(s.b)[1]] / (s.a[list_grade_up(s.b)[1]] - list_min(s.b))],
            lambda t: h3_place(list_transform([1, 2, 3], lambda n: s.a[n] + t * (s.b[n] - s.a[n])), s.corners)
        )[1]
    ]
    ELSE [h3_place(s.a, s.corners)]
END;

-- The middle of a cell as {lat, lon} in degrees.
CREATE OR REPLACE MACRO h3_middle(cell) AS CASE WHEN h3_frame(cell) IS NOT NULL THEN list_transform([h3_plane(cell)], lambda p: list_transform(
    [h3_settle({a: h3_weights(p[1], p[2]), b: h3_weights(p[1], p[2]), corners: h3_face(cell)})],
    lambda s: h3_place(s.a, s.corners)
)[1])[1] END;

-- Weights of a cell's corner m, counted from 0 against the clock.
CREATE OR REPLACE MACRO h3_corner(c, m) AS h3_weights(
    c.p[1] + (c.u[1] * cos(pi() * (2 * m + 1) / 6) - c.u[2] * sin(pi() * (2 * m + 1) / 6)) / sqrt(3),
    c.p[2] + (c.u[1] * sin(pi() * (2 * m + 1) / 6) + c.u[2] * cos(pi() * (2 * m + 1) / 6)) / sqrt(3)
);

-- The corners of a cell against the clock, as {lat, lon} in degrees; 6, and one more across an edge of the icosahedron.
CREATE OR REPLACE MACRO h3_boundary(cell) AS CASE WHEN h3_frame(cell) IS NOT NULL THEN flatten(list_transform(
    [{p: h3_plane(cell), u: h3_step(h3_resolution(cell)), corners: h3_face(cell)}],
    lambda c: flatten(list_transform(range(6), lambda m: list_transform(
        [h3_settle({
            a: h3_corner(c, m), b: h3_corner(c, m + 1), corners: c.corners
        })],
        lambda s: h3_side(s, h3_resolution(cell) % 2 = 1)
    )[1]))
)) END;

-- The closed ring of a cell as text, longitude first.
CREATE OR REPLACE MACRO h3_ring(cell, point, comma) AS list_transform([h3_boundary(cell)], lambda corners:
    list_aggregate(list_transform(
        list_append(corners, corners[1]), lambda corner: format(point, round(corner.lon, 7), round(corner.lat, 7))
    ), 'string_agg', comma)
)[1];

CREATE OR REPLACE MACRO h3_wkt(cell) AS 'POLYGON ((' || h3_ring(cell, '{} {}', ', ') || '))';

CREATE OR REPLACE MACRO h3_geojson(cell) AS
    '{"type":"Polygon","coordinates":[[' || h3_ring(cell, '[{},{}]', ',') || ']]}';

COMMENT ON MACRO h3_middle IS 'the middle of an H3 cell: {lat, lon} in degrees';
COMMENT ON MACRO h3_boundary IS 'the corners of an H3 cell, against the clock: a list of {lat, lon} in degrees';
COMMENT ON MACRO h3_wkt IS 'an H3 cell as WKT, longitude first';
COMMENT ON MACRO h3_geojson IS 'an H3 cell as a GeoJSON geometry';
