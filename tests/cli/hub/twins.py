"""Tiny random twins of many pipelines, each a function from shared parts to a pipeline."""

from collections.abc import Callable
from typing import Any

import torch

WAN_NETWORK = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 16,
    "freq_dim": 32,
    "ffn_dim": 32,
    "num_layers": 2,
    "cross_attn_norm": True,
    "rope_max_seq_len": 32,
}
WAN_ONLY = {"cross_attn_norm", "rope_max_seq_len"}
"""What its relatives have no name for."""
NORMS = {"qk_norm": "rms_norm_across_heads"}
VOCABULARY = 64


def wan(parts: Any, kind: str = "WanPipeline", *, more: Any = None, **network: Any) -> Any:
    """A pipeline of Wan 2.1 or 2.2."""
    import diffusers

    transformer = diffusers.WanTransformer3DModel(**WAN_NETWORK | NORMS | network)
    pieces = {"transformer": transformer, **parts.wan, **(more or {})}
    return getattr(diffusers, kind)(**pieces)


def wan_two_stages(parts: Any) -> Any:
    """Wan 2.2 A14B: one transformer for much noise, another for little."""
    import diffusers

    second = diffusers.WanTransformer3DModel(**WAN_NETWORK | NORMS)
    return wan(parts, more={"transformer_2": second, "boundary_ratio": 0.7})


def wan_5b(parts: Any) -> Any:
    """Wan 2.2 TI2V-5B: an autoencoder of 16 pixels, 48 channels, and patches."""
    import diffusers

    vae = diffusers.AutoencoderKLWan(
        base_dim=4,
        decoder_base_dim=8,
        z_dim=48,
        in_channels=12,
        out_channels=12,
        is_residual=True,
        patch_size=2,
        latents_mean=[0.1] * 48,
        latents_std=[0.9] * 48,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        scale_factor_spatial=16,
        scale_factor_temporal=4,
        temperal_downsample=[False, True, True],
    )
    more = {"vae": vae, "boundary_ratio": None, "expand_timesteps": True}
    return wan(parts, in_channels=48, out_channels=48, more=more)


def wan_image(parts: Any, **network: Any) -> Any:
    """Wan 2.1 from an image, with an image encoder."""
    return wan(
        parts, "WanImageToVideoPipeline", more=parts.seeing, in_channels=36, image_dim=4, **network
    )


def wan_first_and_last(parts: Any) -> Any:
    """Wan 2.1 from the first and the last image."""
    return wan_image(parts, pos_embed_seq_len=2 * 65)


def wan_image_two_stages(parts: Any) -> Any:
    """Wan 2.2 from an image: two transformers, no image encoder."""
    import diffusers

    second = diffusers.WanTransformer3DModel(**WAN_NETWORK | NORMS | {"in_channels": 36})
    more = {"transformer_2": second, "boundary_ratio": 0.7}
    more |= {"image_encoder": None, "image_processor": None}
    return wan(parts, "WanImageToVideoPipeline", more=more, in_channels=36)


def wan_vace(parts: Any) -> Any:
    """Wan VACE."""
    import diffusers

    network = diffusers.WanVACETransformer3DModel(
        **WAN_NETWORK | NORMS, vace_layers=[0], vace_in_channels=96
    )
    return diffusers.WanVACEPipeline(transformer=network, **parts.wan)


def anyflow(parts: Any) -> Any:
    """AnyFlow."""
    import diffusers

    network = diffusers.AnyFlowTransformer3DModel(
        **WAN_NETWORK, gate_value=0.25, deltatime_type="r"
    )
    scheduler = diffusers.FlowMapEulerDiscreteScheduler(num_train_timesteps=1000, shift=5.0)
    return diffusers.AnyFlowPipeline(transformer=network, **parts.wan | {"scheduler": scheduler})


def skyreels(parts: Any, kind: str = "SkyReelsV2Pipeline", more: Any = None, **network: Any) -> Any:
    """A pipeline of SkyReels-V2."""
    import diffusers

    network = WAN_NETWORK | NORMS | {"rope_max_seq_len": 64} | network
    transformer = diffusers.SkyReelsV2Transformer3DModel(**network)
    return getattr(diffusers, kind)(transformer=transformer, **parts.wan, **(more or {}))


def skyreels_forcing(parts: Any) -> Any:
    """SkyReels-V2 with diffusion forcing."""
    return skyreels(parts, "SkyReelsV2DiffusionForcingPipeline", inject_sample_info=True)


def skyreels_image(parts: Any) -> Any:
    """SkyReels-V2 from an image."""
    return skyreels(
        parts, "SkyReelsV2ImageToVideoPipeline", more=parts.seeing, in_channels=36, image_dim=4
    )


def sana(parts: Any, kind: str = "SanaVideoPipeline", *, scheduler: Any = None) -> Any:
    """A pipeline of SANA-Video."""
    import diffusers
    from transformers import Gemma2Config, Gemma2Model

    transformer = diffusers.SanaVideoTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=12,
        cross_attention_dim=24,
        caption_channels=16,
        mlp_ratio=2.5,
        sample_size=30,
        patch_size=(1, 2, 2),
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    gemma = Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
    )
    scheduler = scheduler or diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    pieces = parts.wan | {"text_encoder": Gemma2Model(gemma), "scheduler": scheduler}
    return getattr(diffusers, kind)(transformer=transformer, **pieces)


def sana_image(parts: Any) -> Any:
    """SANA-Video from an image."""
    return sana(parts, "SanaImageToVideoPipeline")


def cogvideox(
    parts: Any, kind: str = "CogVideoXPipeline", channels: int = 4, **network: Any
) -> Any:
    """A pipeline of CogVideoX."""
    import diffusers

    vae = diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=channels,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=16,
        num_layers=1,
        sample_width=4,
        sample_height=4,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=226,
        use_rotary_positional_embeddings=True,
        **network,
    )
    pieces = {"transformer": transformer, "vae": vae, **parts.t5}
    scheduler = diffusers.CogVideoXDDIMScheduler(prediction_type="v_prediction")
    return getattr(diffusers, kind)(scheduler=scheduler, **pieces)


def cogvideox_image(parts: Any) -> Any:
    """CogVideoX from an image."""
    return cogvideox(parts, "CogVideoXImageToVideoPipeline", channels=8)


def mochi(parts: Any) -> Any:
    """Mochi: six frames for a latent frame."""
    import diffusers

    transformer = diffusers.MochiTransformer3DModel(
        patch_size=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        pooled_projection_dim=16,
        in_channels=12,
        text_embed_dim=16,
        time_embed_dim=4,
        max_sequence_length=16,
    )
    vae = diffusers.AutoencoderKLMochi(
        latent_channels=12,
        out_channels=3,
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    return diffusers.MochiPipeline(
        transformer=transformer, vae=vae, scheduler=scheduler, **parts.t5
    )


def ltx(
    parts: Any,
    kind: str = "LTXPipeline",
    *,
    vae: Any = None,
    num_layers: int = 1,
    told_the_time: bool = False,
) -> Any:
    """A pipeline of LTX-Video 0.9."""
    import diffusers

    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=num_layers,
        caption_channels=16,
    )
    vae = vae or diffusers.AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1,) * 5,
        decoder_layers_per_block=(1,) * 5,
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5,
        upsample_residual=(False,) * 4,
        upsample_factor=(1,) * 4,
        timestep_conditioning=told_the_time,
        patch_size=1,
        patch_size_t=1,
        encoder_causal=True,
        decoder_causal=False,
    )
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    return getattr(diffusers, kind)(
        transformer=transformer, vae=vae, scheduler=scheduler, **parts.t5
    )


def ltx_timed(parts: Any) -> Any:
    """LTX-Video 0.9.1 and later, whose autoencoder is told a time."""
    return ltx(parts, told_the_time=True)


def ltx_image(parts: Any) -> Any:
    """LTX-Video from an image."""
    return ltx(parts, "LTXImageToVideoPipeline")


def ltx_condition(parts: Any) -> Any:
    """LTX-Video with conditions, here none."""
    return ltx(parts, "LTXConditionPipeline")


def hunyuan_vae(channels: int = 4) -> Any:
    """The autoencoder of HunyuanVideo."""
    import diffusers

    return diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=channels,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        spatial_compression_ratio=8,
        temporal_compression_ratio=4,
    )


def hunyuan(parts: Any, kind: str = "HunyuanVideoPipeline", channels: int = 4) -> Any:
    """A pipeline of HunyuanVideo: two text encoders."""
    import diffusers
    from transformers import LlamaConfig, LlamaModel

    transformer = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=channels,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        patch_size=1,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
    )
    llama = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=3,
    )
    return getattr(diffusers, kind)(
        transformer=transformer,
        vae=hunyuan_vae(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder=LlamaModel(llama),
        text_encoder_2=parts.clip(8),
        tokenizer=parts.tokenizer,
        tokenizer_2=parts.tokenizer,
    )


def hunyuan_skyreels(parts: Any) -> Any:
    """SkyReels-V1, from an image, on HunyuanVideo."""
    return hunyuan(parts, "HunyuanSkyreelsImageToVideoPipeline", channels=8)


def kandinsky(parts: Any, kind: str = "Kandinsky5T2VPipeline", *, sees: bool = False) -> Any:
    """A pipeline of Kandinsky 5."""
    import diffusers
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    qwen = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_parameters": {
                "mrope_section": [2, 2, 4],
                "rope_type": "default",
                "rope_theta": 1000000.0,
            },
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
        },
    )
    transformer = diffusers.Kandinsky5Transformer3DModel(
        in_visual_dim=16,
        in_text_dim=32,
        in_text_dim2=16,
        time_dim=16,
        out_visual_dim=16,
        patch_size=(1, 2, 2),
        model_dim=16,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(1, 1, 2),
        visual_cond=sees,
        attention_type="regular",
    )
    return getattr(diffusers, kind)(
        transformer=transformer,
        vae=hunyuan_vae(16),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder=Qwen2_5_VLForConditionalGeneration(qwen),
        tokenizer=parts.tokenizer,
        text_encoder_2=parts.clip(16),
        tokenizer_2=parts.tokenizer,
    )


def kandinsky_image(parts: Any) -> Any:
    """Kandinsky 5 from an image."""
    return kandinsky(parts, "Kandinsky5I2VPipeline", sees=True)


def motif(parts: Any, kind: str = "MotifVideoPipeline", **more: Any) -> Any:
    """A pipeline of Motif-Video, whose guidance is a part of its own."""
    import diffusers
    from diffusers.guiders.adaptive_projected_guidance import AdaptiveProjectedGuidance
    from transformers import T5Gemma2Encoder, T5Gemma2EncoderConfig, T5Gemma2TextConfig

    text = T5Gemma2TextConfig(  # type: ignore[call-arg]
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        head_dim=16,
        num_key_value_heads=2,
        max_position_embeddings=128,
        dropout_rate=0.0,
    )
    transformer = diffusers.MotifVideoTransformer3DModel(
        in_channels=33,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=12,
        num_layers=1,
        num_single_layers=1,
        patch_size=1,
        patch_size_t=1,
        text_embed_dim=32,
        rope_axes_dim=(4, 4, 4),
    )
    pieces = parts.wan | {
        "text_encoder": T5Gemma2Encoder(T5Gemma2EncoderConfig(text_config=text)),
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
        "guider": AdaptiveProjectedGuidance(),
    }
    return getattr(diffusers, kind)(transformer=transformer, feature_extractor=None, **pieces)


def ltx2(parts: Any, kind: str = "LTX2Pipeline") -> Any:
    """A pipeline of LTX-2, which makes sound of 8000 samples per second with its video."""
    import diffusers
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    gemma = Gemma3Config(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
        },
        vision_config={
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 8,
        },
        mm_tokens_per_image=4,
    )
    heads = {"num_attention_heads": 2, "attention_head_dim": 8}
    transformer = diffusers.LTX2VideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        **heads,
        cross_attention_dim=16,
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=4,
        audio_cross_attention_dim=8,
        num_layers=2,
        caption_channels=16,
        rope_double_precision=False,
        rope_type="split",
    )
    connectors = LTX2TextConnectors(
        caption_channels=16,
        text_proj_in_factor=2,
        **{f"video_connector_{name}": number for name, number in heads.items()},
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=None,
        **{f"audio_connector_{name}": number for name, number in heads.items()},
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=None,
        connector_rope_base_seq_len=32,
        rope_double_precision=False,
        rope_type="split",
    )
    vae = diffusers.AutoencoderKLLTX2Video(
        latent_channels=4,
        block_out_channels=(8, 8, 8),
        down_block_types=("LTX2VideoDownBlock3D",) * 3,
        decoder_block_out_channels=(8, 8),
        layers_per_block=(1,) * 4,
        decoder_layers_per_block=(1,) * 3,
        spatio_temporal_scaling=(True, True, False),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False,) * 3,
        downsample_type=("spatiotemporal", "spatiotemporal", "spatial"),
        upsample_type=("spatiotemporal", "spatiotemporal"),
        upsample_residual=(False, False),
        upsample_factor=(1, 1),
        patch_size=1,
        patch_size_t=1,
        decoder_causal=False,
    )
    audio_vae = diffusers.AutoencoderKLLTX2Audio(
        base_channels=4, ch_mult=(1, 1, 1), num_res_blocks=1, latent_channels=2, mel_bins=8
    )
    vocoder = LTX2Vocoder(
        in_channels=2 * 8,
        hidden_channels=16,
        upsample_kernel_sizes=[16, 20],
        upsample_factors=[8, 10],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
        output_sampling_rate=8000,
    )
    return getattr(diffusers, kind)(
        transformer=transformer,
        vae=vae,
        audio_vae=audio_vae,
        vocoder=vocoder,
        connectors=connectors,
        text_encoder=Gemma3ForConditionalGeneration(gemma),
        tokenizer=parts.tokenizer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
    )


def ltx2_image(parts: Any) -> Any:
    """LTX-2 from an image."""
    return ltx2(parts, "LTX2ImageToVideoPipeline")


TWINS = {
    "wan": wan,
    "wan-2.2-a14b": wan_two_stages,
    "wan-2.2-5b": wan_5b,
    "wan-i2v": wan_image,
    "wan-2.2-i2v": wan_image_two_stages,
    "wan-flf2v": wan_first_and_last,
    "wan-vace": wan_vace,
    "anyflow": anyflow,
    "skyreels-v2": skyreels,
    "skyreels-v2-df": skyreels_forcing,
    "skyreels-v2-i2v": skyreels_image,
    "sana-video": sana,
    "sana-i2v": sana_image,
    "cogvideox": cogvideox,
    "cogvideox-i2v": cogvideox_image,
    "mochi": mochi,
    "ltx": ltx,
    "ltx-timed": ltx_timed,
    "ltx-i2v": ltx_image,
    "ltx-condition": ltx_condition,
    "ltx-2": ltx2,
    "ltx-2-i2v": ltx2_image,
    "hunyuan": hunyuan,
    "hunyuan-skyreels-i2v": hunyuan_skyreels,
    "kandinsky-5": kandinsky,
    "kandinsky-5-i2v": kandinsky_image,
    "motif": motif,
}
IMAGES = {
    "wan-i2v": ("image",),
    "wan-2.2-i2v": ("image",),
    "wan-flf2v": ("image", "last_image"),
    "skyreels-v2-i2v": ("image",),
    "sana-i2v": ("image",),
    "cogvideox-i2v": ("image",),
    "ltx-i2v": ("image",),
    "ltx-2-i2v": ("image",),
    "hunyuan-skyreels-i2v": ("image",),
    "kandinsky-5-i2v": ("image",),
}


class Parts:
    """What twins have in common: `tokenizer`, and by name what their pipelines take."""

    def __init__(self, tokenizer: Any, umt5: Any, wan_parts: dict[str, Any]) -> None:
        self.tokenizer = tokenizer
        self.wan = dict(wan_parts)
        self._umt5 = umt5

    @property
    def t5(self) -> dict[str, Any]:
        """A text encoder and its tokenizer."""
        from transformers import T5Config, T5EncoderModel

        config = T5Config(
            vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
        )
        return {"text_encoder": T5EncoderModel(config), "tokenizer": self.tokenizer}

    def clip(self, width: Any) -> Any:
        """The text half of a CLIP."""
        from transformers import CLIPTextConfig, CLIPTextModel

        config = CLIPTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=16,
            num_attention_heads=2,
            num_hidden_layers=1,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=0,
            projection_dim=width,
        )
        return CLIPTextModel(config)

    @property
    def seeing(self) -> dict[str, Any]:
        """An image encoder and what prepares images for it."""
        from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

        config = CLIPVisionConfig(
            hidden_size=4,
            projection_dim=4,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            intermediate_size=16,
            patch_size=4,
        )
        return {
            "image_encoder": CLIPVisionModelWithProjection(config),
            "image_processor": CLIPImageProcessor(crop_size=32, size=32),
        }


def build(name: str, parts: Any) -> Any:
    """The pipeline of a twin, always with the same numbers."""
    return seeded(11, TWINS[name], parts)


def seeded(seed: int, make: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
    """What `make` makes, always with the same numbers."""
    torch.manual_seed(seed)
    return make(*arguments, **more)
