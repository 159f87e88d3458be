-- H3 in plain SQL. Bits of a cell from the top: 1 reserved, 4 mode, 3 reserved, 4 resolution, 7 base cell, then
-- 15 digits of 3 bits, 7 where the digit is finer than the resolution. So a parent is a mask, and the descendants of
-- one resolution lie in one range: `h3_r9 BETWEEN h3_first(cell, 9) AND h3_last(cell, 9)` prunes row groups.
CREATE OR REPLACE MACRO h3_resolution(cell) AS (cell >> 52) & 15;

CREATE OR REPLACE MACRO h3_parent(cell, resolution) AS
    CASE WHEN resolution BETWEEN 0 AND h3_resolution(cell)
    THEN (cell & ~(15::BIGINT << 52)) | (resolution::BIGINT << 52) | ((1::BIGINT << (3 * (15 - resolution))) - 1)
    END;

CREATE OR REPLACE MACRO h3_first(cell, resolution) AS
    CASE WHEN resolution BETWEEN h3_resolution(cell) AND 15
    THEN ((cell & ~(15::BIGINT << 52)) | (resolution::BIGINT << 52))
       & ~((1::BIGINT << (3 * (15 - h3_resolution(cell)))) - (1::BIGINT << (3 * (15 - resolution))))
    END;

CREATE OR REPLACE MACRO h3_last(cell, resolution) AS
    CASE WHEN resolution BETWEEN h3_resolution(cell) AND 15
    THEN (cell & ~(15::BIGINT << 52)) | (resolution::BIGINT << 52)
    END;

COMMENT ON MACRO h3_resolution IS 'the resolution of an H3 cell';
COMMENT ON MACRO h3_parent IS 'the cell of a coarser resolution that an H3 cell belongs to';
COMMENT ON MACRO h3_first IS 'with h3_last the range of all descendants of an H3 cell: BETWEEN h3_first(cell, 9) AND h3_last(cell, 9)';
COMMENT ON MACRO h3_last IS 'with h3_first the range of all descendants of an H3 cell';
