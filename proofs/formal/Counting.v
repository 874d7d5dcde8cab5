(** * Pigeonhole for stored states: docs/quantization.md, "counting" *)

From Coq Require Import NArith.
From mathcomp Require Import all_ssreflect zify.

Set Implicit Arguments.
Unset Strict Implicit.
Unset Printing Implicit Defensive.

Section Pigeonhole.

(** [n] tokens, context [K], states of [d] coordinates of [b] bits. *)
Variables (n K b d : nat).

(** Non-empty prompts of at most K tokens. *)
Definition prompt : predArgType := {k : 'I_K & k.+1.-tuple 'I_n}.
Definition stored_state : predArgType := d.-tuple (b.-tuple bool).

Lemma card_stored_state : #|{: stored_state}| = 2 ^ (b * d).
Proof. by rewrite !card_tuple card_bool expnM. Qed.

Lemma card_prompt : #|{: prompt}| = \sum_(k < K) n ^ k.+1.
Proof.
rewrite card_tagged sumnE big_map big_enum /=.
by apply: eq_bigr => k _; rewrite card_tuple card_ord.
Qed.

(** Whatever is computed and however it is rounded: more prompts than states, and two prompts share a stored state. *)
Theorem some_prompts_share_a_state (stored : prompt -> stored_state) :
  2 ^ (b * d) < \sum_(k < K) n ^ k.+1 -> exists s t, s != t /\ stored s = stored t.
Proof.
move=> more; have: ~~ injectiveb stored.
  apply/injectiveP => /leq_card; rewrite card_stored_state card_prompt.
  by rewrite leqNgt more.
by case/injectivePn => s [t ne eq]; exists s, t.
Qed.

(** In particular for n^K > 2^(b d), that is K > b d / log2 n, already among prompts of length K. *)
Theorem some_long_prompts_share_a_state (stored : K.-tuple 'I_n -> stored_state) :
  2 ^ (b * d) < n ^ K -> exists s t, s != t /\ stored s = stored t.
Proof.
move=> more; have: ~~ injectiveb stored.
  apply/injectiveP => /leq_card; rewrite card_stored_state card_tuple card_ord.
  by rewrite leqNgt more.
by case/injectivePn => s [t ne eq]; exists s, t.
Qed.

End Pigeonhole.

(** ** The printed numbers, by computation with binary integers

    n^q > 2^p and p K >= q b d give n^K > 2^(b d), so that log2 n is needed to three digits only. *)

Lemma forced_by n K b d p q : 0 < K -> 0 < q -> 2 ^ p < n ^ q -> q * (b * d) <= p * K -> 2 ^ (b * d) < n ^ K.
Proof.
move=> K0 q0 rate le; rewrite -(ltn_exp2r _ _ q0) -!expnM [K * q]mulnC [n ^ _]expnM (leq_ltn_trans (_ : _ <= (2 ^ p) ^ K)) //.
  by rewrite -expnM leq_exp2l // mulnC.
by rewrite ltn_exp2r.
Qed.

(** The other side: fewer prompts than states, so that counting forces nothing. *)
Lemma not_forced_by n K b d p q : 0 < K -> 0 < q -> 1 < n -> n ^ q < 2 ^ p -> p * K + q <= q * (b * d) ->
  \sum_(k < K) n ^ k.+1 <= 2 ^ (b * d).
Proof.
move=> K0 q0 n1 rate le; have sum_le : \sum_(k < K) n ^ k.+1 <= 2 * n ^ K.
  elim: (K) => [|m IH]; first by rewrite big_ord0.
  rewrite big_ord_recr /= (leq_trans (leq_add IH (leqnn _))) // expnS.
  by have: 2 * n ^ m <= n * n ^ m by [rewrite leq_mul2r n1 orbT]; lia.
apply: (leq_trans sum_le); rewrite -(leq_exp2r _ _ q0) expnMn -!expnM (@leq_trans (2 ^ q * 2 ^ (p * K))) //.
  by rewrite leq_mul2l [K * q]mulnC expnM [2 ^ (p * K)]expnM leq_exp2r // ltnW ?orbT.
by rewrite -expnD leq_exp2l // addnC [b * d * q]mulnC.
Qed.

Lemma expn_pow m k : Nat.pow m k = m ^ k.
Proof. by elim: k => //= k ->; rewrite expnS. Qed.

Lemma pow_lt (a b c e : N) : (a ^ b <? c ^ e)%num -> (N.to_nat a) ^ (N.to_nat b) < (N.to_nat c) ^ (N.to_nat e).
Proof.
move/N.ltb_lt => lt; have: (N.to_nat (a ^ b)%num < N.to_nat (c ^ e)%num)%coq_nat by lia.
by rewrite !N2Nat.inj_pow !expn_pow => /ltP.
Qed.

(** log2 50257 lies in (15.615, 15.620), log2 128256 in (16.968, 16.969). *)
Lemma gpt2_log2 : (2 ^ 3123 <? 50257 ^ 200)%num && (50257 ^ 200 <? 2 ^ 3124)%num.
Proof. by vm_compute. Qed.

Lemma llama_log2 : (2 ^ 16968 <? 128256 ^ 1000)%num && (128256 ^ 1000 <? 2 ^ 16969)%num.
Proof. by vm_compute. Qed.

Section Models.

Variables (n K bits d : nat).

(** At these lengths two prompts of equal length share a stored state, and one token less forces nothing. *)
Definition first_forced : Prop := 2 ^ (bits * d) < n ^ K /\ \sum_(k < K.-1) n ^ k.+1 <= 2 ^ (bits * d).

Lemma first_forced_by (N_ p p' q : N) : N.of_nat n = N_ -> (1 <? N_)%num -> (0 <? q)%num ->
  (2 ^ p <? N_ ^ q)%num && (N_ ^ q <? 2 ^ p')%num ->
  (1 <? N.of_nat K)%num ->
  (q * (N.of_nat bits * N.of_nat d) <=? p * N.of_nat K)%num ->
  (p' * (N.of_nat K - 1) + q <=? q * (N.of_nat bits * N.of_nat d))%num ->
  first_forced.
Proof.
move=> eq_n n1 q0 /andP[/pow_lt low /pow_lt high] K1 le le'.
have n_nat : N.to_nat N_ = n by lia.
rewrite n_nat (_ : N.to_nat 2%num = 2) // in low high.
split; first by apply: (forced_by _ _ low); lia.
by apply: (not_forced_by _ _ _ high); lia.
Qed.

End Models.

(** GPT-2 small (n = 50257, d = 768) 787 and 1574 tokens at 16 and 32 bits, Llama-3.1-8B (n = 128256, d = 4096)
    3863 and 7725.  [n] is given by its binary value, as unary literals of this size are not practical. *)
Theorem gpt2_small n : N.of_nat n = 50257%num -> first_forced n 787 16 768 /\ first_forced n 1574 32 768.
Proof. by move=> eq_n; split; apply: (first_forced_by eq_n _ _ gpt2_log2); vm_compute. Qed.

Theorem llama_8b n : N.of_nat n = 128256%num -> first_forced n 3863 16 4096 /\ first_forced n 7725 32 4096.
Proof. by move=> eq_n; split; apply: (first_forced_by eq_n _ _ llama_log2); vm_compute. Qed.
