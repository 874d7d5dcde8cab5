(** * Witness.v over the real numbers of Coq, with their exponential and square root, in width 4

    What `sipit prove witness` enumerates, for all prompts at once: docs/witness.md. *)

From Coq Require Import Reals.
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import Rstruct zify ring.
From Sipit Require Import Witness.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Import Order.TTheory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Lemma exp_gt0 (x : R) : 0 < exp x. Proof. by apply/RltP; exact: exp_pos. Qed.
Lemma exp0 : exp 0 = 1 :> R. Proof. exact: exp_0. Qed.
Lemma exp_le (x y : R) : x <= y -> exp x <= exp y.
Proof. by rewrite !le_eqVlt => /orP[/eqP->|/RltP/exp_increasing/RltP->]; rewrite ?eqxx ?orbT. Qed.

(** The vectors of docs/witness.md: e = (1, 1, -1, -1)/2 and so on; so the hypotheses on e, p, q can be met. *)
Definition vector (signs : seq bool) : 'rV[R]_4 := \row_k ((-1) ^+ nth false signs k / 2%:R).
Definition e4 := vector [:: false; false; true; true].
Definition p4 := vector [:: false; true; false; true].
Definition q4 := vector [:: false; true; true; false].

Ltac entries := rewrite /dot ?mxE !big_ord_recl big_ord0 !mxE /=; field.

Lemma dots : [/\ dot e4 e4 = 1, dot p4 p4 = 1 & dot q4 q4 = 1] /\ [/\ dot e4 p4 = 0, dot e4 q4 = 0 & dot p4 q4 = 0].
Proof. by split; split; entries. Qed.

Lemma sums : [/\ \sum_k e4 0 k = 0, \sum_k p4 0 k = 0 & \sum_k q4 0 k = 0].
Proof. by split; entries. Qed.

Section GPT2.

(** Any number T.+1 of tokens, vocabulary, head width, epsilon > 0; i: the first mismatch (any mismatch will do). *)
Variables (g' T : nat) (Token : eqType) (epsilon : R) (i : 'I_T.+1) (s t : 'I_T.+1 -> Token).
Hypotheses (epsilon_gt0 : 0 < epsilon) (i_inner : i != ord_max).
Hypotheses (mismatch : s i != t i) (same_last : s ord_max = t ord_max).

(** The last state of prompt u under the witness made for the ordered pair (a, b): a alone enters. *)
Definition r (Lambda : R) (a u : 'I_T.+1 -> Token) := last_state exp epsilon (witness g' epsilon e4 p4 q4 i Lambda a) u.

(** The gap, exactly: equal states iff m_s = m_t; with two tokens always. *)
Theorem published_witness_gap Lambda : t i = s ord_max -> r Lambda s s = r Lambda s t <-> marks i s s = marks i s t.
Proof.
have [[ee pp qq] [ep eq_ pq]] := dots; have [e0 p0 q0] := sums.
exact: (gap_criterion exp_gt0 exp0).
Qed.

Corollary published_witness_fails_on_two_tokens Lambda : T = 1%N -> t i = s ord_max -> r Lambda s s = r Lambda s t.
Proof.
move=> T1 gap; apply/published_witness_gap => //.
have none j : ((j != i) && (j != ord_max)) = false.
  apply/negP => /andP[]; move: i_inner (ltn_ord j) (ltn_ord i); rewrite -!val_eqE /= => /eqP ? ? ? /eqP ? /eqP ?; lia.
by rewrite /marks !big_pred0.
Qed.

(** The repair: with e^Lambda = (1 - delta) T / delta as in the paper, one of the two ordered pairs is separated. *)
Theorem repaired_witness Lambda delta : (0 < T)%N -> 0 < delta -> delta <= 2%:R^-1 ->
  delta < c_ep 3 epsilon / (c_ep 3 epsilon + c_e 3 epsilon) -> exp Lambda = (1 - delta) * T%:R / delta ->
  r Lambda s s != r Lambda s t \/ r Lambda t s != r Lambda t t.
Proof.
move=> T0 d0 half small weight; have [[ee pp qq] [ep eq_ pq]] := dots; have [e0 p0 q0] := sums.
have ce0 := c_e_gt0 3 epsilon_gt0; have cep0 := c_ep_gt0 3 epsilon_gt0.
apply: (repaired exp_gt0 exp0 exp_le) => //.
  have : 1 <= exp Lambda.
    rewrite weight ler_pdivl_mulr // mul1r (@le_trans _ _ (1 - delta)) //.
      by rewrite ler_subr_addl -mulr2n -mulr_natl -ler_pdivl_mull ?ltr0n // mulr1.
    by rewrite ler_pemulr ?ler1n // subr_ge0 (le_trans half) // invf_le1 ?ler1n ?ltr0n.
  by rewrite -exp0 => le; rewrite leNgt; apply/negP => /RltP/exp_increasing/RltP; rewrite ltNge le.
rewrite ltr_pdivl_mulr ?addr_gt0 // in small; rewrite weight.
set cep := c_ep 3 epsilon in cep0 small *; set ce := c_e 3 epsilon in ce0 small *.
have -> : (1 - delta) * T%:R / delta * cep = T%:R * ((1 - delta) * cep / delta).
  by rewrite [(1 - delta) * _]mulrC -!mulrA; congr (_ * (_ * _)); exact: mulrC.
rewrite ltr_pmul2l ?ltr0n // ltr_pdivl_mulr // mulrBl mul1r ltr_subr_addl.
by rewrite [ce * _]mulrC -mulrDr.
Qed.

End GPT2.
