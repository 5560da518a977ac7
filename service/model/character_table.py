"""The kinds of the characters of Unicode 14.0.0.

Printed by `python3.11 -m tests.support.character_table`.
"""

# Runs of code points from 0 on: a kind of characters.py, `_` for a space, and how many, in hexadecimal.
RUNS = """
s9 _5 se _5 s6 '1 s8 wa s7 w1a s6 w1a sa _1 s1a _1 s9 w1 s7 w2 s1 w1 s3 w2 s1 w3 s1 w17 s1 w1f s1 w1ca s4 wc se w5 s7
w1 s1 w1 s11 m70 w5 s1 w2 u2 w4 s1 w1 u4 s2 w1 s1 w3 u1 w1 u1 w14 u1 w53 s1 w8b s1 m7 wa6 u1 w26 u2 w1 s6 w29 s2 u2 s3
u1 m2d s1 m1 s1 m2 s1 m2 s1 m1 u8 w1b u4 w4 s2 ub s10 mb s5 w2b m15 wa s4 w2 m1 w63 s1 w1 m7 s2 m6 w2 m2 s1 m4 wf s2
w1 se u1 s1 w1 m1 w1e m1b u2 w59 mb w1 ue w2b m9 w2 s4 w1 u2 m1 s2 w16 m4 w1 m9 w1 m3 w1 m5 u2 sf u1 w19 m3 u2 s1 u1
wb u5 w18 s1 w6 u1 s2 u6 m8 w2a m18 s1 m21 w36 m3 w1 m12 w1 m7 wa m2 s2 wa s1 w10 m3 u1 w8 u2 w2 u2 w16 u1 w7 u1 w1 u3
w4 u2 m1 w1 m7 u2 m2 u2 m3 w1 u8 m1 u4 w2 u1 w3 m2 u2 wc s2 w6 s2 w1 s1 m1 u2 m3 u1 w6 u4 w2 u2 w16 u1 w7 u1 w2 u1 w2
u1 w2 u2 m1 u1 m5 u4 m2 u2 m3 u3 m1 u7 w4 u1 w1 u7 wa m2 w3 m1 s1 ua m3 u1 w9 u1 w3 u1 w16 u1 w7 u1 w2 u1 w5 u2 m1 w1
m8 u1 m3 u1 m3 u2 w1 uf w2 m2 u2 wa s2 u7 w1 m6 u1 m3 u1 w8 u2 w2 u2 w16 u1 w7 u1 w2 u1 w5 u2 m1 w1 m7 u2 m2 u2 m3 u7
m3 u4 w2 u1 w3 m2 u2 wa s1 w7 ua m1 w1 u1 w6 u3 w3 u1 w4 u3 w2 u1 w1 u1 w2 u3 w2 u3 w3 u3 wc u4 m5 u3 m3 u1 m4 u2 w1
u6 m1 ue wd s8 u5 m5 w8 u1 w3 u1 w17 u1 w10 u2 m1 w1 m7 u1 m3 u1 m4 u7 m2 u1 w3 u2 w1 u2 w2 m2 u2 wa u7 s1 w7 s1 w1 m3
s1 w8 u1 w3 u1 w17 u1 wa u1 w5 u2 m1 w1 m7 u1 m3 u1 m4 u7 m2 u6 w2 u1 w2 m2 u2 wa u1 w2 ud m4 w9 u1 w3 u1 w29 m2 w1 m7
u1 m3 u1 m4 w1 s1 u4 w3 m1 wa m2 u2 w13 s1 w6 u1 m3 u1 w12 u3 w18 u1 w9 u1 w1 u2 w7 u3 m1 u4 m6 u1 m1 u1 m8 u6 wa u2
m2 s1 uc w30 m1 w2 m7 u4 s1 w7 m8 s1 wa s2 u25 w2 u1 w1 u1 w5 u1 w18 u1 w1 u1 wa m1 w2 m9 w1 u2 w5 u1 w1 u1 m6 u2 wa
u2 w4 u20 w1 s17 m2 s6 w14 s1 m1 s1 m1 s1 m1 s4 m2 w8 u1 w24 u4 m14 s1 m2 w5 mb u1 m24 u1 s8 m1 s6 u1 sd u25 w2b m14
wb s6 w6 m4 w4 m3 w1 m3 w2 m7 w3 m4 wd mc w1 m1 wa m4 s2 w26 u1 w1 u5 w1 u2 w2b s1 w14d u1 w4 u2 w7 u1 w1 u1 w4 u2 w29
u1 w4 u2 w21 u1 w4 u2 w7 u1 w1 u1 w4 u2 wf u1 w39 u1 w4 u2 w43 u2 m3 s9 w14 u3 w10 sa u6 w56 u2 w6 u2 s1 w26c s2 w11
_1 w1a s2 u3 w4b s3 wb u7 w12 m4 u9 w13 m3 s2 u9 w12 m2 uc wd u1 w3 u1 m2 uc w34 m20 s3 w1 s4 w1 m1 u2 wa u6 wa u6 sb
m3 s1 m1 wa u6 w59 u7 w5 m2 w22 m1 w1 u5 w46 ua w1f u1 mc u4 mc u4 s1 u3 s2 w28 u2 w5 ub w2c u4 w1a u6 wb u3 s22 w17
m5 u2 s2 w35 ma u1 m1d u2 m1 wa u6 wa u6 s7 w1 s6 u2 m1f u31 m5 w2f m11 w8 u3 wa s11 m9 sb u1 m3 w1e md w38 me u8 s4
w24 m14 u3 s5 wa u3 w31 s2 w9 u7 w2b u2 w3 s8 u8 m3 s1 m15 w4 m1 w6 m1 w2 m3 w1 u5 wc0 m40 w116 u2 w6 u2 w26 u2 w6 u2
w8 u1 w1 u1 w1 u1 w1 u1 w1f u2 w35 u1 w7 s1 w1 s3 w3 u1 w7 s3 w4 u2 w6 u1 s3 wd s3 u2 w3 u1 w7 s2 u1 _b s1 m1 j1 s1a
_2 s5 _1 s2f _1 s5 u1 sa w2 u2 w6 s5 wb s5 u1 wd u3 s21 uf m21 uf s2 w1 s4 w1 s2 wa s1 w1 s3 w5 s6 w1 s1 w1 s1 w1 s1
w4 s1 wb s2 w4 s5 w5 s4 w1 s1 w3a s2 u4 s297 u19 sb u15 w3c s4e w16 s276 w1e s3e0 u2 s20 u1 s69 we5 s6 w4 m3 w2 u5 s4
w1 s2 w26 u1 w1 u5 w1 u2 w38 u7 w1 s1 ue m1 w17 u9 w7 u1 w7 u1 w7 u1 w7 u1 w7 u1 w7 u1 w7 u1 w7 u1 m20 s2f w1 s2e u22
s1a u1 s59 uc sd6 u1a sc u4 _1 s4 i3 s19 i9 m6 s1 i5 s2 i5 s3 u1 i56 u2 m2 s2 i3 s1 i5a s1 i4 u5 i2b u1 w5e u1 s2 w4
sa i20 s24 uc i10 s1f u1 wa s1e w8 s1 wf s20 wa s27 wf s140 i19c0 s40 i568d u3 s37 u9 w2e s2 w10d s3 w1c u14 w2f m4 s1
ma s1 w1f m2 w50 m2 s6 u8 s17 w9 s2 w67 s2 w40 u5 w2 u1 w1 u1 w5 u18 w10 m1 w3 m1 w4 m1 w17 m5 s4 m1 u3 w6 s4 u6 w34
s4 u8 m2 w32 m12 u8 s2 wa u6 m12 w6 s3 w1 s1 w2 m1 w26 m8 s2 w17 md ub s1 w1d u3 m4 w2f me sd u1 wb u4 s2 w5 m1 w19 u1
w29 me u9 w3 m1 w8 m2 u2 wa u2 s4 w17 s3 w1 m3 w32 m1 w1 m3 w2 m2 w5 m2 w1 m1 w1 u18 w3 s2 wb m5 s2 w3 m2 ua w6 u2 w6
u2 w6 u9 w7 u1 w7 u1 w2b s1 we s2 u4 w73 m8 s1 m2 u2 wa u6 w2ba4 uc w17 u4 w31 u2104 i16e u2 i6a u26 w7 uc w5 u5 w1 m1
wa s1 wd u1 w5 u1 w1 u1 w2 u1 w2 u1 w6c s11 u10 w16b s12 w40 u2 w36 u7 s1 u20 wc s4 m10 sa u6 m10 s23 u1 s13 u1 s4 u4
w5 u1 w87 u2 s1 u1 sf wa s7 w1a s6 w1a sb i38 m2 w1f u3 w6 u2 w6 u2 w6 u2 w3 u3 s7 u1 s7 ua s5 u2 wc u1 w1a u1 w13 u1
w2 u1 wf u2 we u22 w7b u5 s3 u4 w2d u3 s9 w39 s11 w2 s3 u1 sd u3 s1 u2f s2d m1 u82 w1d u3 w31 uf m1 w1b u4 w24 u9 w1e
u5 w26 m5 u5 w1e u1 s1 w24 u4 w8 s1 w5 u2a w9e u2 wa u6 w24 u4 w24 u4 w28 u8 w34 ub s1 wb u1 wf u1 w7 u1 w2 u1 wb u1
wf u1 w7 u1 w2 u43 w137 u9 w16 ua w8 u18 w6 u1 w2a u1 w9 u45 w6 u2 w1 u1 w2c u1 w2 u3 w1 u2 w17 u1 s1 w1f s2 w26 u8 w9
u30 w13 u1 w2 u5 w21 u3 s1 w1a u5 s1 u40 w38 u4 w14 u2 w2f m3 u1 m2 u5 m4 w4 u1 w3 u1 w1d u2 m3 u4 m1 w9 u7 s9 u7 w1f
s1 w20 u20 w8 s1 w1c m2 u4 w5 s7 u9 w36 u3 s7 w16 u2 w1b u5 w1a u7 s4 uc w7 u50 w49 u37 w33 ud w33 u7 w2a m4 u8 wa
u126 w1f u1 w2a u1 m2 s1 u2 w2 u4e w28 u8 w16 mb w4 s5 u16 w12 m4 s4 u26 w1c u14 w17 u9 m3 w35 mf s7 u4 w1e m1 w2 m2
w1 u9 m4 w2d mb s7 m1 ua s1 u2 w19 u7 wa u6 m3 w24 me u1 wa s4 w1 m2 w1 u8 w23 m1 s2 w1 u9 m3 w30 me w4 s4 m4 s1 m2 wb
s1 w1 s3 u1 w14 ub w12 u1 w19 mc s6 m1 u41 w7 u1 w1 u1 w4 u1 wf u1 wa s1 u6 w2f mc u5 wa u6 m4 u1 w8 u2 w2 u2 w16 u1
w7 u1 w2 u1 w5 u1 m2 w1 m7 u2 m2 u2 m3 u2 w1 u6 m1 u5 w5 m2 u2 m7 u3 m5 u8b w35 m12 w4 s5 wa s2 u1 s1 m1 w3 u1e w30
m14 w2 s1 w1 u8 wa ua6 w2f m7 u2 m9 s17 w4 m2 u22 w30 m11 s3 w1 ub wa u6 sd u13 w2b md w1 s1 u6 wa u36 w1b u2 mf u4 wc
s4 w7 ub9 w2c mf s1 u64 w53 uc w8 u2 w1 u2 w8 u1 w2 u1 w18 m6 u1 m2 u2 m4 w1 m1 w1 m2 s3 u9 wa u46 w8 u2 w27 m7 u2 m7
w1 s1 w1 m1 u1b w1 ma w28 m7 w1 m4 s8 m1 u8 w1 mb w2e m10 s3 w1 s5 ud w49 u107 w9 u1 w25 m8 u1 m8 w1 s5 ua w1d u3 s2
w1e u2 m16 u1 me u49 w7 u1 w2 u1 w26 m6 u3 m1 u1 m2 u1 m7 w1 m1 u8 wa u6 w6 u1 w2 u1 w20 m5 u1 m2 u1 m5 w1 u7 wa u136
w13 m4 s2 ub7 w1 uf w15 s1d ud s1 w39a u66 w6f u1 s5 ub wc4 ua4c w61 s2 ud w42f u1 s9 ufc7 w247 u21b9 w239 u7 w1f u1
wa u4 s2 w4f u1 wa u6 w1e u2 m5 s1 ua w30 m7 s9 w4 s2 ua wa u1 w7 u1 w15 u5 w13 u2b0 w57 s4 u65 w4b u4 m1 w1 m37 u7 m4
wd u40 i2 s1 i1 m1 ub m2 ue i17f8 u8 i4d6 u2a i9 u22e7 i4 u1 i7 u1 i2 u1 i123 u2d i3 u11 i4 u8 i18c u904 w6b u5 wd u3
w9 u7 wa u2 s1 m2 s5 u125c m2e u2 m17 u9 s74 u3c sf6 ua s27 u2 s3c m5 s3 m6 s8 m8 s2 m7 s1e m4 s3d u15 s42 m3 s1 u9a
w14 uc s57 u9 w19 u87 w55 u1 w47 u1 w2 u2 w1 u2 w2 u2 w4 u1 wc u1 w1 u1 w7 u1 w41 u1 w4 u2 w8 u1 w7 u1 w1c u1 w4 u1 w5
u1 w1 u3 w7 u1 w154 u2 w19 s1 w19 s1 w1f s1 w19 s1 w1f s1 w19 s1 w1f s1 w19 s1 w1f s1 w19 s1 w8 u2 w32 s200 m37 s4 m32
s8 m1 se m1 s7 uf m5 u1 mf u450 w1f ue1 m7 u1 m11 u2 m7 u1 m2 u1 m5 ud5 w2d u3 m7 w7 u2 wa u4 w1 s1 u140 w1e m1 u11
w2c m4 wa u5 s1 u4e0 w7 u1 w4 u1 w2 u1 wf u1 wc5 u2 w9 m7 u29 w44 m7 w1 u4 wa u4 s2 u311 w3b s1 w3 s1 w4 u4c w2d s1 wf
uc2 w4 u1 w1b u1 w2 u1 w1 u2 w1 u1 wa u1 w4 u1 w1 u1 w1 u6 w1 u4 w1 u1 w1 u1 w1 u1 w3 u1 w2 u1 w1 u2 w1 u1 w1 u1 w1 u1
w1 u1 w1 u1 w2 u1 w1 u2 w4 u1 w7 u1 w4 u1 w4 u1 w1 u1 wa u1 w11 u5 w3 u1 w5 u1 w11 u34 s2 u10e s100 wd sd9 r1a s1fb t5
s793 u1 s37 u25 wa u6 s3fe u2 ia6e0 u20 i1039 u7 ide u2 i1682 ue i1d31 uc1f i21e u5e2 i134b uaecb6 s1 u1e t60 u80 mf0
u2fe10
"""
